"""Atomic writing and replacing of files."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lodbrain.errors import OutputError

#: Errors of file systems that do not support an operation. Others, such as a full disk at fsync(2), are real failures.
_LACKING = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM)
_NO_SYNC = (*_LACKING, errno.EBADF, errno.EACCES, errno.EROFS, errno.ENOTTY)
_NO_RENAME = (*_LACKING, errno.EXDEV, errno.EEXIST)

_HINTS = {
    errno.ENOSPC: ("disk-full", "the disk is full", "Free some space or choose another output folder."),
    errno.EDQUOT: ("disk-full", "your disk quota is used up", "Free some space or choose another output folder."),
    errno.EFBIG: ("disk-full", "the file is too large for this disk", "Choose another output folder."),
    errno.EROFS: ("not-writable", "the disk is read-only", "Choose another output folder."),
    errno.EACCES: ("not-writable", "writing is not permitted", "Choose another output folder."),
    errno.EPERM: ("not-writable", "writing is not permitted", "Choose another output folder."),
    errno.ENOENT: ("not-writable", "the folder does not exist", "Create it first."),
    errno.ENOTDIR: ("not-writable", "a part of the path is not a folder", "Choose another output folder."),
    errno.EISDIR: ("not-writable", "a folder of this name exists", "Choose another name."),
    errno.ENAMETOOLONG: ("not-writable", "the name is too long for this disk", "Choose a shorter name."),
    errno.EIO: ("not-writable", "the disk reports an error", "Choose another output folder."),
}


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which is renamed to `path` when the block ends without an exception.

    At any time `path` has either its previous content or all of the new content. On an exception, also one raised by a
    signal handler, the temporary file is removed. On file systems that cannot sync or rename, the file is written
    without that guarantee. It is empty and has the suffix of `path`, by which libraries choose formats.

    Raises
    ------
    OutputError
        If the folder, which must exist, cannot be written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "volumes.tsv"
    >>> with atomic(target) as temporary:
    ...     _ = temporary.write_text("index,name")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('index,name', 1)
    """
    target = Path(path)
    temporary = target.with_name(f".lodbrain-{secrets.token_hex(6)}{_ending(target)}")
    try:
        # Mode 0o666 minus the umask, like any other file: tempfile's 0o600 would lock out the user's group.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        sync(temporary, os.O_RDWR)  # Windows syncs only files opened for writing
        replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and _concerns_output(error, temporary) and error.errno in _HINTS:
            code, what, hint = _HINTS[error.errno]
            raise OutputError(code, target, what, hint) from error
        raise
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the file itself is complete
        sync(target.parent, os.O_RDONLY)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically in UTF-8, without converting line ends; errors as in `atomic`.

    Lone surrogates, which come from file names that are not UTF-8, are written as escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; errors as in `atomic`."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _ending(target: Path) -> str:
    """Return the last two suffixes (``.nii.gz``), or only the last if they are too long to be an extension."""
    two = "".join(target.suffixes[-2:])
    return two if len(two) <= 20 else target.suffix[:20]


def _concerns_output(error: OSError, temporary: Path) -> bool:
    """Return False if the error concerns another file that the block tried to open."""
    return error.filename is None or Path(os.fsdecode(error.filename)) == temporary


def sync(path: Path, flags: int = os.O_RDONLY) -> bool:
    """Flush a file or folder to disk; return False if the file system does not support it.

    Raises
    ------
    OSError
        If the data could not be written: the disk is full, or reports an error.
    """
    try:
        descriptor = os.open(path, flags)
    except PermissionError:  # a folder that may be written to, but not listed
        return False
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def replace(source: Path, target: Path) -> None:
    """Rename a file over another one, or copy it if the file system does not support that.

    Raises
    ------
    OSError
        If neither is possible. A partial copy is removed.
    """
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
    target.unlink(missing_ok=True)  # so that the target of a link is not overwritten
    try:
        shutil.copyfile(source, target)
        sync(target, os.O_RDWR)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
    source.unlink()
