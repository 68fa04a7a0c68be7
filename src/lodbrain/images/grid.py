"""Reorientation of a volume, exactly invertible and without interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.image import Image

#: Axis assignments whose scores differ by less than this are ties: headers store float32.
_TIE = 1e-4


@dataclass(frozen=True)
class Reorientation:
    """Permutation and flips: for each new axis, the index of the old axis and whether it is reversed."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array (X, Y, Z) or (X, Y, Z, C) in the new order."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[self._flips()]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array (X, Y, Z) or (X, Y, Z, C) in the old order, the exact inverse of `apply`."""
        back = [self.axes.index(axis) for axis in range(3)]
        return array[self._flips()].transpose(*back, *range(3, array.ndim))

    def affine(self, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Return the affine (4, 4) of the volume in the new order from its affine and shape in the old order."""
        return affine @ self.turn(shape)

    def turn(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return the (4, 4) matrix from indices of the new order to those of the old one, whose shape is given."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for new, (old, flipped) in enumerate(zip(self.axes, self.flipped, strict=True)):
            # axis k of the new order runs along axes[k], from its far end if flipped
            turn[old, new] = -1 if flipped else 1
            turn[old, 3] = shape[old] - 1 if flipped else 0
        return turn

    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flipped else slice(None) for flipped in self.flipped)


def to_ras(image: Image) -> tuple[Image, Reorientation]:
    """Return the image in the orientation closest to RAS, without interpolation, and the reorientation.

    Parameters
    ----------
    image : Image
        In any of the 48 orientations, also oblique.

    Returns
    -------
    image : Image
        data is a view. `header` is None, because results are written on the original's grid.
    reorientation : Reorientation
        Its `undo` restores the original order of an array.

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
    return reoriented(image, turned), turned


def reoriented(image: Image, turn: Reorientation) -> Image:
    """Return an image with other axes: data is a view, and `header` is None."""
    return Image(turn.apply(image.data), turn.affine(image.affine, image.shape), None, image.notes)


def closest_ras(affine: NDArray[np.float64]) -> Reorientation:
    """Return the permutation and flips that bring the axes of an affine (4, 4), not singular, closest to RAS.

    Each of the six permutations is scored by the cosines between axes and directions, so that every axis gets exactly
    one direction, also at 45 degrees. Ties are broken by the resulting axes in space, not by the order in the file, so
    that all 48 orientations of one scan give the same result.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    rotation = left @ right  # nearest orthogonal axes, so that shear has no influence

    candidates = []
    for order in permutations(range(3)):
        columns = rotation[:, order]
        signs = np.where(np.diagonal(columns) < 0, -1.0, 1.0)
        candidates.append((float(np.abs(np.diagonal(columns)).sum()), columns * signs, order, signs))
    best = max(score for score, *_ in candidates)
    fitting = [candidate for candidate in candidates if candidate[0] > best - _TIE]
    _, _, order, signs = max(fitting, key=lambda candidate: tuple(np.round(candidate[1].ravel(), 3) + 0.0))
    return Reorientation((order[0], order[1], order[2]), (bool(signs[0] < 0), bool(signs[1] < 0), bool(signs[2] < 0)))
