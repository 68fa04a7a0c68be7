"""Copy of a scan's file with all voxels outside of a mask set to black; header, type and scaling are kept."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images import mgh, nifti
from lodbrain.images.geometry import check_affine
from lodbrain.images.image import Image
from lodbrain.images.io import LEVEL_LABELS, SLAB, as_scan, write_image, write_voxels
from lodbrain.images.layout import Layout
from lodbrain.images.load import load

#: Share of the voxels that may be darker than black: as in `intensity.black_level`.
_BELOW_BLACK = 0.5
#: A black level that is this near to 0, as a share of the distance from black to bright, is 0.
_NEAR_ZERO = 0.1
#: Voxels that both are taken of.
_SAMPLE = 1 << 21


@dataclass(frozen=True, eq=False)
class Stored:
    """Voxels of a scan as they are in its file, whose layout has all notes on reading it."""

    buffer: bytearray
    path: Path
    layout: Layout

    @property
    def voxels(self) -> NDArray[Any]:
        """Voxels (X, Y, Z) in the file's own type and byte order, a view of the buffer."""
        return np.frombuffer(self.buffer, self.layout.dtype).reshape(self.layout.shape, order="F")

    def scan(self) -> Image:
        """Return a copy with float32 intensities; errors as in `lodbrain.images.io.read_image`."""
        layout = self.layout
        spare = max(0, 4 * math.prod(layout.shape) - layout.frame_bytes)  # `as_scan` needs four bytes a voxel
        try:
            buffer = bytearray(spare) + self.buffer
        except MemoryError as error:
            what = "its voxels do not fit into memory"
            raise InputError("too-large", self.path, what, "Use a larger machine") from error
        return as_scan(self.path, layout, buffer, list(layout.notes))

    def black(self) -> float:
        """Return the stored value that stands for black.

        It is the darkest intensity but for 0.5% of the voxels, or 0 if that is near to it, which is the rule in
        magnitude images. Integers are rounded to what the type can hold.

        Examples
        --------
        A scan whose air is 0 to 3, and one that a program has shifted by -1024:

        >>> air = np.tile(np.arange(4, dtype=np.int16), (8, 8, 2))
        >>> air[2:6, 2:6, 2:6] = 500
        >>> layout = Layout((8, 8, 8), 1, air.dtype, 352, np.eye(4), None)
        >>> scans = (Stored(bytearray(data.tobytes("F")), Path("a.nii"), layout) for data in (air, air - 1024))
        >>> [scan.black() for scan in scans]
        [0.0, -1024.0]
        """
        slope, intercept = self.layout.slope, self.layout.intercept
        sample = self.voxels.ravel("K")[:: max(1, self.voxels.size // _SAMPLE)].astype(np.float64)
        sample = sample[np.isfinite(sample)] * slope + intercept
        dark = float(np.percentile(sample, _BELOW_BLACK, method="lower"))
        bright = float(sample[sample > sample.mean()].mean()) if sample.min() < sample.max() else dark
        if abs(dark) <= _NEAR_ZERO * (bright - dark):
            dark = 0.0
        stored = (dark - intercept) / slope
        if self.voxels.dtype.kind == "f":
            return stored
        info = np.iinfo(self.voxels.dtype)
        return float(np.clip(np.rint(stored), info.min, info.max))


def read_stored(path: Path, *, frame: int | None = None, allow_odd_voxels: bool = False) -> Stored:
    """Return the voxels of a scan as they are in its file; parameters and errors as in `lodbrain.images.io.read_image`.

    The affine is checked, intensities only by `Stored.scan`.
    """
    layout, buffer, notes = load(path, frame)
    notes += check_affine(path, layout.affine, layout.shape, allow_odd_voxels=allow_odd_voxels)
    return Stored(buffer, path, replace(layout, notes=tuple(notes)))


def write_masked(path: str | os.PathLike[str], stored: Stored, mask: NDArray[np.bool_]) -> None:
    """Write a scan with all voxels outside of a mask set to black, atomically.

    Type, scaling and all fields of the header are those of the scan's file, but for a grid that was corrected on
    reading. If the format differs from the scan's, only the grid is kept, and values are scaled if MGH is written.

    Parameters
    ----------
    path : path
        ``.nii``, ``.nii.gz`` or ``.mgz``.

    Raises
    ------
    ValueError
        If the mask is on another grid, or the name has another suffix.
    OutputError
        If the file cannot be written.
    """
    target, layout = Path(path), stored.layout
    if mask.shape != stored.voxels.shape:
        raise ValueError(f"mask must be on the grid {stored.voxels.shape}, got {mask.shape}")
    black = np.array(stored.black()).astype(stored.voxels.dtype)
    from_mgh, to_mgh = mgh.is_mgh(layout.head), target.name.endswith(".mgz")
    if from_mgh != to_mgh:
        brain = np.where(mask, stored.voxels, black)
        if to_mgh and (layout.slope, layout.intercept) != (1.0, 0.0):
            brain = (brain * layout.slope + layout.intercept).astype(np.float32)
        elif to_mgh and not any(np.can_cast(brain.dtype, kind) for kind in ("u1", "i2", "i4", "f4")):
            brain = brain.astype(np.float32)
        else:
            brain = brain.astype(brain.dtype.newbyteorder("="))
        write_image(target, brain, Image(brain, layout.affine, None if to_mgh else layout.header))
        return
    head = mgh.copied_header(layout) if to_mgh else nifti.copied_header(layout)
    stored_type = stored.voxels.dtype.newbyteorder(">" if to_mgh else "<")
    slabs = (slice(z, z + SLAB) for z in range(0, mask.shape[2], SLAB))
    parts = (np.where(mask[..., part], stored.voxels[..., part], black) for part in slabs)
    write_voxels(target, head, parts, stored_type, level=LEVEL_LABELS)  # a brain is black for the most part
