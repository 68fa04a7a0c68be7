"""Validation of file names from servers and archives, so that files stay inside their folder."""

from __future__ import annotations

import re
from pathlib import Path

from lodbrain.errors import InputError

#: Device names reserved by Windows, with any extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST_NAME = 255


def contained(root: Path, relative: str) -> Path:
    """Return the path of a file below a folder, given by a server or an archive, after checking that its name is safe.

    Raises
    ------
    InputError
        ``"unsafe-name"`` if the name is absolute, contains ``..``, passes through a link out of the folder, or is not
        valid on all operating systems.

    Examples
    --------
    >>> contained(Path("data"), "sub-1/anat/sub-1_T1w.nii").as_posix()
    'data/sub-1/anat/sub-1_T1w.nii'
    """
    parts = relative.split("/")
    for part in parts:
        if (
            part in ("", ".", "..")
            or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME
            or any(character in '\\:*?"<>|' or not character.isprintable() for character in part)
            or part.endswith((" ", "."))
            or _DEVICES.fullmatch(part)
        ):
            raise _unsafe(relative)
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise _unsafe(relative)
    return path


def _unsafe(relative: str) -> InputError:
    what = f"the name {relative[:120]!r} leads out of the folder, or is not a valid file name"
    return InputError("unsafe-name", None, what, "It is skipped; report it to the publisher")
