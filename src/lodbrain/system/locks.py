"""A lock on a folder, for as long as a process writes into it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: How often a lock is tried whose file another process has just removed. A file system that gives a file another number
#: each time it is opened looks the same: it is used without locks.
_TRIES = 100


def take_lock(work: Path) -> int | None:
    """Return a file descriptor that holds the lock on a folder, which is made or emptied.

    Parameters
    ----------
    work : Path
        The folder. Its parent must exist.

    Returns
    -------
    int or None
        None, and no folder, where the file system has no locks.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        If the folder cannot be made.
    """
    path = work / "lock"
    for _ in range(_TRIES):
        work.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # the holder has just finished and removed the folder
            continue
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(descriptor).st_ino:
                raise FileNotFoundError
        except FileNotFoundError:  # as above, between opening and locking
            os.close(descriptor)
            continue
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # ENOLCK, ENOSYS, EOPNOTSUPP: NFS, Lustre, some containers
            os.close(descriptor)
            break
        for left in work.iterdir():  # of a run that was killed
            if left != path:
                left.unlink()
        return descriptor
    with suppress(OSError):
        path.unlink()
        work.rmdir()
    return None
