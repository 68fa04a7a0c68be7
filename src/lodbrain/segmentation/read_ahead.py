"""Read-ahead of a command's first scan while torch is imported and the model is loaded."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TypeAlias

from lodbrain.errors import LodbrainError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image
from lodbrain.images.layout import Layout
from lodbrain.images.load import read_layout
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import free_bytes

#: Inode, size and modification time.
FileState: TypeAlias = tuple[int, int, int]

#: Larger scans are read only after their memory has been planned. 512 MiB is four times a head at 0.6 mm.
MOST_BYTES = 512 * 2**20
#: Share of the memory budget that the voxels may take.
_SHARE = 0.25


class ReadAhead:
    """Reader of one scan in a background thread.

    Errors are not reported here: of a scan that is invalid or large `layout` returns None, and the caller reads the
    scan itself and gets the usual error.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self._before = state_of(path)
        self._layout: Layout | None = None
        self._image: Image | None = None
        self._thread = threading.Thread(target=self._run, name="read-ahead")
        self._thread.start()

    def layout(self, state: FileState | None) -> Layout | None:
        """Return the layout of the scan; None if it could not be read, or its file is no longer in this state."""
        self._thread.join()
        if state is None or state != self._before:
            self._image = None
        return None if self._image is None else self._layout

    def take(self) -> Image:
        """Return the scan, once, after `layout` has returned its layout."""
        image, self._image = self._image, None
        assert image is not None
        return image

    def _run(self) -> None:
        settings = self._settings
        try:
            self._layout = read_layout(self._path, settings.frame)
            needed = max(self._layout.frame_bytes, 4 * math.prod(self._layout.shape))
            if needed <= min(MOST_BYTES, _SHARE * (settings.memory_bytes or free_bytes())):
                self._image = read_image(self._path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
        except (LodbrainError, MemoryError, OSError):
            return


def state_of(path: Path) -> FileState | None:
    """Return a value that changes when the file is modified; None if the file does not exist."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns
