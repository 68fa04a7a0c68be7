"""Read-ahead of a command's first scan while torch is imported and the model is loaded."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lodbrain.errors import LodbrainError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image
from lodbrain.images.layout import Layout
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import free_bytes

#: Inode, size and modification time.
FileState: TypeAlias = tuple[int, int, int]

#: Larger scans are read only after their memory has been planned. 512 MiB is four times a head at 0.6 mm.
MOST_BYTES = 512 * 2**20
#: Share of the memory budget that the voxels may take.
_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan that was read ahead.

    Attributes
    ----------
    image : Image
        As from `read_image`.
    layout : Layout
        Layout that its header declares.
    """

    image: Image
    layout: Layout


class ReadAhead:
    """Reader of one scan in a background thread.

    Errors are not reported here: if a scan is invalid or large, `take` returns None, and the caller reads the scan
    itself and gets the usual error.

    Parameters
    ----------
    path : Path
    settings : Settings
        Settings of the segmentation.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self._before = state_of(path)
        self._layout: Layout | None = None
        self._read: ReadScan | None = None
        self._thread = threading.Thread(target=self._run, name="read-ahead")
        self._thread.start()

    def take(self, state: FileState | None) -> ReadScan | None:
        """Return the scan, on the first call; None if it could not be read or its file is no longer in this state."""
        self._thread.join()
        read, self._read = self._read, None
        return read if state is not None and state == self._before else None

    def _run(self) -> None:
        settings = self._settings
        try:
            image = read_image(
                self._path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels, check=self._check
            )
        except (LodbrainError, _Large, MemoryError, OSError):
            return
        assert self._layout is not None
        self._read = ReadScan(image, self._layout)

    def _check(self, layout: Layout) -> None:
        needed = max(layout.frame_bytes, 4 * math.prod(layout.shape))
        if needed > min(MOST_BYTES, _SHARE * (self._settings.memory_bytes or free_bytes())):
            raise _Large
        self._layout = layout


class _Large(Exception):
    """The scan is too large to be read before its memory is planned."""


def state_of(path: Path) -> FileState | None:
    """Return a value that changes when the file is modified; None if the file does not exist."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns
