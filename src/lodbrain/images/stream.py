"""Sequential reader of a file, plain or gzip, with verification to its end.

A gzip file ends with a checksum and a length. A reader that stops at the last voxel does not check them and may return
damaged voxels; `Stream.finish` reads to the end of the file and verifies them.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lodbrain.errors import InputError

#: Compressed bytes read, and decompressed bytes returned, at once. Steps are large to limit switches between threads.
_CHUNK = 1 << 20
_STEP = 1 << 20

#: Decompressed bytes allowed beyond the header's claim: tags of MGH are far below, a gzip bomb is far above.
_MAX_SURPLUS = 1 << 26

#: Largest compression ratio of deflate, 1032 : 1 (zlib's technical details).
_MAX_DEFLATE_RATIO = 1032

_SIGNATURES = {
    b"NRRD": "an NRRD image",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 or MINC 2 file",
}


class ByteStream:
    """File opened for sequential reading.

    Parameters
    ----------
    path : Path
        File to open. Compression is detected from the content, not from the name.

    Raises
    ------
    InputError
        If the file is missing, empty, unreadable, or has the content of another known format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size, self._file = _open(path)
        try:
            head = self._file.read(1024)
            _refuse_stand_ins(path, head)
            self._file.seek(0)
        except BaseException:
            self._file.close()
            raise
        self.compressed = head[:2] == b"\x1f\x8b"
        self._inflate = zlib.decompressobj(31)
        self._pending = b""
        self._garbage = 0

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def capacity(self) -> int:
        """Largest possible number of bytes after decompression."""
        return self.size * _MAX_DEFLATE_RATIO if self.compressed else self.size

    def read(self, n_bytes: int) -> bytes:
        """Return the next `n_bytes` as a copy, fewer at the end; for headers."""
        parts = []
        while n_bytes > 0 and (part := self._some(n_bytes)):
            parts.append(part)
            n_bytes -= len(part)
        return b"".join(parts)

    def fill(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer`; return the number of bytes read."""
        done = 0
        with memoryview(buffer) as view:
            while done < len(view) and (part := self._some(min(_STEP, len(view) - done))):
                view[done : done + len(part)] = part
                done += len(part)
        return done

    def skip(self, n_bytes: int) -> int:
        """Skip `n_bytes`; return the number of bytes skipped."""
        if not self.compressed:
            start = self._file.tell()
            end = min(start + n_bytes, self.size)
            self._file.seek(end)
            return end - start
        done = 0
        while done < n_bytes and (part := self._some(min(_STEP, n_bytes - done))):
            done += len(part)
        return done

    def finish(self) -> tuple[int, int]:
        """Read to the end of the file and verify its checksums.

        Returns
        -------
        surplus : int
            Number of unread bytes in the stream.
        garbage : int
            Number of bytes after the end of a gzip stream.
        """
        surplus = 0
        if not self.compressed:
            surplus = self.size - self._file.tell()
            self._file.seek(self.size)
            return surplus, 0
        while part := self._some(_STEP):
            surplus += len(part)
            if surplus > _MAX_SURPLUS:
                raise InputError(
                    "gzip-bomb", self.path, "it unpacks to far more than its header claims", "Export the scan again"
                )
        return surplus, self._garbage

    def _some(self, limit: int) -> bytes:
        """Return between 1 and `limit` bytes, none at the end."""
        try:
            return self._inflated(limit) if self.compressed else self._file.read(limit)
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise InputError(
                "damaged", self.path, f"its gzip stream is damaged ({reason})", "Copy or download the file again"
            ) from error
        except OSError as error:
            what = f"it cannot be read ({error.strerror})"
            raise InputError("unreadable", self.path, what, "Check the disk") from error

    def _inflated(self, limit: int) -> bytes:
        while True:
            if self._inflate.eof and not self._next_member():
                return b""
            # zlib checks each member's checksum and length at its trailer (wbits 31).
            part = self._inflate.decompress(self._pending, limit)
            self._pending = self._inflate.unconsumed_tail
            if part:
                return part
            if not self._inflate.eof and not self._pending:
                self._pending = self._file.read(_CHUNK)
                if not self._pending:
                    raise InputError(
                        "truncated", self.path, "its gzip stream ends too early", "Copy or download the file again"
                    )

    def _next_member(self) -> bool:
        """Continue with the next gzip member (bgzip writes many), or count the bytes after the last one."""
        rest = self._inflate.unused_data
        if len(rest) < 2:
            rest += self._file.read(_CHUNK)
        if rest[:2] == b"\x1f\x8b":
            self._inflate, self._pending = zlib.decompressobj(31), rest
            return True
        self._garbage = len(rest) + self.size - self._file.tell()
        return False


def _open(path: Path) -> tuple[int, BinaryIO]:
    """Return size and open file; raise an error with the reason if it cannot be opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a regular file"
            raise InputError("not-a-file", path, what, "Name an image file")
        if status.st_size == 0:
            raise InputError("empty", path, "the file is empty", "Copy or download it again")
        return status.st_size, path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            if "annex" in os.readlink(path):
                raise InputError(
                    "annex-missing", path, "its content is not here (a broken git-annex link)", "Run: datalad get"
                ) from error
            raise InputError("broken-link", path, "it is a link to a missing file", "Repair the link") from error
        raise InputError("missing", path, "no such file", "Check the path") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError("broken-link", path, "its links lead in a circle", "Repair the link") from error
        raise InputError("unreadable", path, f"it cannot be opened ({error.strerror})", "Check permissions") from error


def _refuse_stand_ins(path: Path, head: bytes) -> None:
    """Raise an error for content that is often found in place of an image, such as a web page or an LFS pointer."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise InputError("html-page", path, "it is a web page, not an image", "The download failed: fetch it again")
    if text.startswith(b"version https://git-lfs"):
        raise InputError("lfs-pointer", path, "it is a git LFS pointer, not the image", "Run: git lfs pull")
    if b"annex/objects/" in head[:512].replace(b"\\", b"/") and b"\x00" not in head:
        raise InputError("annex-stub", path, "it is a git-annex pointer, not the image", "Run: datalad get")
    kind = next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), "")
    if head[128:132] == b"DICM":
        kind = "a DICOM file"
    if kind:
        raise InputError("wrong-format", path, f"it is {kind}, not NIfTI or MGH", "Convert it to NIfTI (dcm2niix)")
