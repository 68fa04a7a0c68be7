"""Scans in RAS order with axes at right angles: resampling of sheared ones, and of results back to the scan's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.black_background import blacken_background
from lodbrain.images.geometry import shear_cosine
from lodbrain.images.grid import Reorientation, to_ras
from lodbrain.images.image import Image

#: Cosine between axes above which a scan is resampled: 0.02 is about one degree, or 5 mm of shift over 250 mm.
SHEAR_COSINE = 0.02

#: Largest ratio of the voxel counts of the orthogonal and sheared grid. Beyond it, as with long thin voxels, the
#: orthogonal grid gets larger voxels.
_MOST_GROWTH = 8


@dataclass(frozen=True, eq=False)
class Straightening:
    """Resampling between a sheared and an orthogonal ("straight") grid of these shapes (X, Y, Z).

    `to_sheared` (4, 4) float64 takes voxels of the straight grid to voxels of the sheared one.
    """

    to_sheared: NDArray[np.float64]
    straight: tuple[int, int, int]
    sheared: tuple[int, int, int]

    def apply(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a scan (X, Y, Z) on the straight grid, linearly interpolated, with its minimum outside of the scan."""
        return _interpolate(data, self.to_sheared, self.straight, float(data.min()))

    def undo_classes(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return classes (X, Y, Z) on the sheared grid: those with the largest linearly interpolated share.

        Classes are interpolated one after the other, each in its bounding box, to save memory.
        """
        best = np.zeros(self.sheared, np.uint8)
        share, total = np.zeros(self.sheared, np.float32), np.zeros(self.sheared, np.float32)
        to_straight = np.asarray(np.linalg.inv(self.to_sheared), np.float64)
        for value in np.unique(classes[classes > 0]).tolist():
            where = self._box(classes == value)
            start = np.array([s.start for s in where], np.float64)
            shape = (where[0].stop - where[0].start, where[1].stop - where[1].start, where[2].stop - where[2].start)
            moved = to_straight.copy()
            moved[:3, 3] += to_straight[:3, :3] @ start
            part = _interpolate((classes == value).astype(np.float32), moved, shape, 0.0)
            total[where] += part
            better = part > share[where]
            best[where][better] = value
            share[where][better] = part[better]
        best[1 - total >= share] = 0  # the remaining share is background
        return best

    def undo_posteriors(self, posteriors: NDArray[np.floating]) -> NDArray[np.float16]:
        """Return posteriors (C, X, Y, Z) on the sheared grid; outside the straight grid all is the first class."""
        to_straight = np.asarray(np.linalg.inv(self.to_sheared), np.float64)
        out = np.empty((len(posteriors), *self.sheared), np.float16)
        for channel, volume in enumerate(posteriors):
            out[channel] = _interpolate(volume.astype(np.float32), to_straight, self.sheared, float(channel == 0))
        return out

    def _box(self, mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
        """Return the box of the sheared grid that a mask on the straight grid reaches by linear interpolation."""
        ends = []
        for axis in range(3):
            at = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
            ends.append((int(at[0]) - 1, int(at[-1]) + 1))
        corners = np.array(list(product(*ends))) @ self.to_sheared[:3, :3].T + self.to_sheared[:3, 3]
        low = np.clip(np.floor(corners.min(0)), 0, None).astype(int)
        high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, self.sheared)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return x, y, z


def is_sheared(affine: NDArray[np.float64]) -> bool:
    """Return whether two axes of an affine (4, 4) deviate from a right angle by more than about a degree."""
    return shear_cosine(affine) > SHEAR_COSINE


def straighten(image: Image) -> tuple[Image, Straightening]:
    """Return the scan on a straight grid that covers it, and the resampling between both grids.

    The straight grid has the scan's voxel sides, unless it would have more than 8 times as many voxels.

    Returns
    -------
    Image
        `header` is None, because results are written on the original's grid.
    Straightening

    Examples
    --------
    >>> import numpy as np
    >>> affine = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    >>> sheared = Image(np.ones((8, 8, 8), np.float32), affine)
    >>> straight, way = straighten(sheared)
    >>> is_sheared(straight.affine), way.undo_classes(np.ones(straight.shape, np.uint8)).shape
    (False, (8, 8, 8))
    """
    axes = image.affine[:3, :3]
    left, _, right = np.linalg.svd(axes / image.spacing_mm)
    corners = np.array(list(product(*((0, n - 1) for n in image.shape)))) @ axes.T + image.affine[:3, 3]
    along = corners @ (left @ right)  # mm along the nearest orthogonal axes
    spacing = image.spacing_mm
    low, shape = _span(along, spacing)
    while math.prod(shape) > _MOST_GROWTH * math.prod(image.shape):
        spacing = np.where(spacing == spacing.min(), 2 * spacing, spacing)
        low, shape = _span(along, spacing)
    turned = np.eye(4)
    turned[:3, :3] = (left @ right) * spacing
    turned[:3, 3] = turned[:3, :3] @ low
    way = Straightening(np.linalg.inv(image.affine) @ turned, shape, image.shape)
    return Image(way.apply(image.data), turned, None, image.notes), way


def upright(image: Image) -> tuple[Image, Reorientation, Straightening | None, list[str]]:
    """Return an image in RAS order, resampled to right angles if it is sheared.

    Returns
    -------
    Image
        Its voxels are a view of those given, unless it is sheared.
    Reorientation
        Way back from RAS order.
    Straightening or None
        Way back from right angles, to be undone first; None if the image is not sheared.
    list of str
        The image's notes, and a further one if its background was changed.
    """
    ras, reorientation = to_ras(image)
    notes = list(image.notes)
    if not is_sheared(ras.affine):
        return ras, reorientation, None, notes
    data, note = blacken_background(ras.data)  # before interpolation mixes background and head
    notes += [note] if note else []
    straight, shear = straighten(replace(ras, data=data))
    return straight, reorientation, shear, notes


def _span(along: NDArray[np.float64], spacing: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Return first voxel and shape of a grid through the origin that covers all points along its axes (in mm)."""
    low = np.floor(along.min(0) / spacing + 1e-6)
    x, y, z = (int(n) for n in np.ceil(along.max(0) / spacing - 1e-6) - low + 1)
    return low, (x, y, z)


def _interpolate(
    data: NDArray[np.float32], matrix: NDArray[np.float64], shape: tuple[int, int, int], outside: float
) -> NDArray[np.float32]:
    from scipy.ndimage import affine_transform  # slow to import, and rarely needed

    out: NDArray[np.float32] = affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], output_shape=shape, output=np.float32, order=1, cval=outside
    )
    return out
