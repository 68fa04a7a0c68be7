"""SHA-256 of bytes, of a scan's file, or of both files of a pair."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lodbrain.errors import InputError


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a scan's file, as hex; for a NIfTI or Analyze pair, of both files in the order hdr, img.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in [path.with_suffix(".hdr"), path.with_suffix(".img")] if path.suffix in (".hdr", ".img") else [path]:
            if part.exists():  # the reader reports a missing file of a pair
                with part.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
        raise InputError("unreadable", path, what, "Check the file and its permissions") from error
    return digest.hexdigest()
