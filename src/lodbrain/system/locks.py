"""Lock on a folder while a process writes into it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: Number of attempts while other processes remove the lock file between opening and locking. Where all fail, the inode
#: of a file is not stable on this file system, which is then used without locks.
_TRIES = 100


def take_lock(work: Path) -> int | None:
    """Create or empty a folder, and return a file descriptor that holds its lock; the folder's parent must exist.

    If the file system has no locks, the folder is removed and None is returned.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    OSError
        If the folder cannot be created.
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
        for leftover in work.iterdir():  # from a killed process
            if leftover != path:
                leftover.unlink()
        return descriptor
    with suppress(OSError):
        path.unlink()
        work.rmdir()
    return None
