"""Orientation and extent of a volume, each step undone exactly and without interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.image import Image

#: Assignments of axes whose fit differs by less than this are equal: headers store float32.
_TIE = 1e-4


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of the axes.

    Attributes
    ----------
    axes : tuple of int
        For each new axis, the old axis that becomes it.
    flipped : tuple of bool
        For each new axis, whether it runs backwards.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array in the new order: a view.

        Parameters
        ----------
        array : (X, Y, Z) or (X, Y, Z, C)
        """
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[self._flips()]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array in the old order: a view. Takes back `apply` exactly.

        Parameters
        ----------
        array : (X, Y, Z) or (X, Y, Z, C)
        """
        back = [self.axes.index(axis) for axis in range(3)]
        return array[self._flips()].transpose(*back, *range(3, array.ndim))

    def affine(self, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """The affine of the volume in the new order.

        Parameters
        ----------
        affine : (4, 4) float64
            Of the volume in the old order.
        shape : tuple of int
            In the old order.
        """
        # old index = turn @ new index: axis k of the new order runs along axes[k], from its far end where flipped.
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for new, (old, flipped) in enumerate(zip(self.axes, self.flipped, strict=True)):
            turn[old, new] = -1 if flipped else 1
            turn[old, 3] = shape[old] - 1 if flipped else 0
        return affine @ turn

    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flipped else slice(None) for flipped in self.flipped)


@dataclass(frozen=True)
class Crop:
    """A box cut out of a volume; parts of it may lie outside.

    Attributes
    ----------
    start : tuple of int
        First voxel; negative outside.
    size : tuple of int
        Voxels of the box.
    shape : tuple of int
        Of the volume that it was cut from.
    """

    start: tuple[int, int, int]
    size: tuple[int, int, int]
    shape: tuple[int, int, int]

    def apply(self, array: NDArray[Any], *, fill: float = 0) -> NDArray[Any]:
        """The box, filled with `fill` outside of the volume. A view where all of it lies inside."""
        inside, in_box = self._overlap()
        if all(s.stop - s.start == n for s, n in zip(inside, self.size, strict=True)):
            return array[inside]
        box = np.full(self.size + array.shape[3:], fill, dtype=array.dtype)
        box[in_box] = array[inside]
        return box

    def undo(self, array: NDArray[Any], *, fill: float = 0) -> NDArray[Any]:
        """The box put back into a volume of `fill`; what lay outside of the volume is dropped."""
        inside, in_box = self._overlap()
        whole = np.full(self.shape + array.shape[3:], fill, dtype=array.dtype)
        whole[inside] = array[in_box]
        return whole

    def affine(self, affine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The affine of the box."""
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ np.array(self.start, dtype=np.float64)
        return moved

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The common part, as seen in the volume and in the box."""
        inside, in_box = [], []
        for start, size, length in zip(self.start, self.size, self.shape, strict=True):
            first = min(max(start, 0), length)
            last = max(first, min(start + size, length))
            inside.append(slice(first, last))
            in_box.append(slice(first - start, last - start) if last > first else slice(0, 0))
        return tuple(inside), tuple(in_box)


def to_ras(image: Image) -> tuple[Image, Reorientation]:
    """The image with its axes to the right, the front and up, as nearly as without interpolation, and how to undo it.

    Parameters
    ----------
    image : Image
        Of any of the 48 orientations, oblique too.

    Returns
    -------
    image : Image
        data is a view. `header` is None: results are written on the original's grid.
    reorientation : Reorientation
        `undo` brings an array back to the original's order.

    Examples
    --------
    >>> import numpy as np
    >>> affine = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    >>> scan = Image(np.arange(24.0).reshape(2, 3, 4), affine)
    >>> ras, turned = to_ras(scan)
    >>> ras.shape, bool((turned.undo(ras.data) == scan.data).all())
    ((4, 2, 3), True)
    """
    turned = closest_ras(image.affine)
    data, affine = turned.apply(image.data), turned.affine(image.affine, image.shape)
    return Image(data, affine, None, image.notes), turned


def closest_ras(affine: NDArray[np.float64]) -> Reorientation:
    """The permutation and flips that bring the axes nearest to right, front and up.

    Each of the six permutations is scored by the cosines between axes and directions, so that at 45 degrees, too, every
    axis gets exactly one direction. Ties are broken by the resulting axes in space, not by the order in the file: all
    48 orientations of one scan come out the same.

    Parameters
    ----------
    affine : (4, 4) float64
        Voxel to millimetres, not singular.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    rotation = left @ right  # the nearest right-angled axes: shear does not decide

    candidates = []
    for order in permutations(range(3)):
        columns = rotation[:, order]
        signs = np.where(np.diagonal(columns) < 0, -1.0, 1.0)
        candidates.append((float(np.abs(np.diagonal(columns)).sum()), columns * signs, order, signs))
    best = max(score for score, *_ in candidates)
    fitting = [candidate for candidate in candidates if candidate[0] > best - _TIE]
    _, _, order, signs = max(fitting, key=lambda candidate: tuple(np.round(candidate[1].ravel(), 3) + 0.0))
    return Reorientation((order[0], order[1], order[2]), (bool(signs[0] < 0), bool(signs[1] < 0), bool(signs[2] < 0)))
