"""Layout of an image file: shape, type and position of the voxels, and affine, from a checked header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.image import Image

#: 1290^3, more than any head scan has; larger values come from damaged headers.
MAX_VOXELS = 1 << 31

#: Compression ratio that no scan reaches. It is tested only above 1 GiB of voxels, as small empty masks exceed it.
_MAX_RATIO, _RATIO_FROM_BYTES = 200, 1 << 30


@dataclass(frozen=True)
class Layout:
    """Checked fields of a header.

    Attributes
    ----------
    shape : tuple of int
        (X, Y, Z).
    frames : int
        Number of volumes in the file, 1 for 3D.
    dtype : numpy dtype
        Type of the voxels in the file, with byte order.
    offset : int
        Bytes before the first voxel in the file that holds the voxels.
    affine : (4, 4) float64
        Voxel to millimetres, RAS.
    header : Nifti1Header
        Grid for results, as a single-file NIfTI header in the input's own units.
    slope, intercept : float
        Intensity = slope * stored + intercept.
    pair : bool
        Whether the voxels are in a second file (.img).
    tail : bool
        Whether bytes after the voxels are expected (MGH's tags).
    notes : tuple of str
        Issues detected and corrected.
    head : bytes
        The header's fixed fields as in the file, in its byte order, without extensions.
    """

    shape: tuple[int, int, int]
    frames: int
    dtype: np.dtype[np.generic]
    offset: int
    affine: NDArray[np.float64]
    header: Nifti1Header
    slope: float = 1.0
    intercept: float = 0.0
    pair: bool = False
    tail: bool = False
    notes: tuple[str, ...] = ()
    head: bytes = b""

    @property
    def frame_bytes(self) -> int:
        """Number of bytes of one volume."""
        x, y, z = self.shape
        return x * y * z * self.dtype.itemsize

    def grid_image(self) -> Image:
        """Return an image on this grid, for writing results: its voxels are 0 and take no memory."""
        return Image(np.broadcast_to(np.float32(0), self.shape), self.affine, self.header, self.notes)


def checked_shape(path: Path, dims: list[int]) -> tuple[tuple[int, int, int], int]:
    """Return (X, Y, Z) and the number of frames.

    Raises
    ------
    InputError
        If sizes are not positive, there are fewer than three or more than four dimensions, or more than `MAX_VOXELS`.
    """
    if any(size <= 0 for size in dims):
        raise InputError("bad-header", path, f"its header claims the shape {_times(dims)}", "Export the scan again")
    if len(dims) < 3 or 1 in dims[:3]:
        raise InputError("2d", path, f"it is a flat picture ({_times(dims)}), not a volume", "Give a 3D scan")
    if len(dims) > 4:
        raise InputError("5d", path, f"it has {len(dims)} dimensions ({_times(dims)})", "Give a 3D scan")
    x, y, z = dims[:3]
    if x * y * z > MAX_VOXELS:
        raise InputError("too-large", path, f"its header claims {_times(dims)} voxels", "Export the scan again")
    return (x, y, z), dims[3] if len(dims) == 4 else 1


def check_size(path: Path, layout: Layout, *, size: int, capacity: int, compressed: bool) -> None:
    """Raise an error, before memory is allocated, if a header claims more voxels than its file can hold.

    Parameters
    ----------
    size, capacity : int
        Bytes of the file, and the largest number of bytes that it can decompress to.
    compressed : bool
        Whether the file is gzip.
    """
    claimed = layout.offset + layout.frame_bytes * layout.frames
    if claimed > capacity:
        raise InputError(
            "truncated",
            path,
            f"its header claims {_bytes(claimed)}, the file ({_bytes(size)}) cannot hold them",
            "Copy or download the file again",
        )
    if compressed and claimed > _RATIO_FROM_BYTES and claimed > _MAX_RATIO * size:
        raise InputError(
            "gzip-bomb", path, f"no scan is compressed from {_bytes(claimed)} to {_bytes(size)}", "Export it again"
        )


def _times(dims: list[int]) -> str:
    return " x ".join(map(str, dims))


def _bytes(n: int) -> str:
    size, unit = float(n), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if unit != "bytes" else f"{n} bytes"
