"""Mapping of a label map to another one's grid: reorientation of axes, and nearest-neighbour resampling on request."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError
from lodbrain.images.grid import closest_ras
from lodbrain.images.image import Image

#: Largest distance of two grids' corners as a share of a voxel side: qform and sform are rounded differently.
_SAME = 0.02


def on_grid_of(ref: Image, image: Image, *, resample: bool = False) -> tuple[NDArray[np.integer], list[str]]:
    """Return the voxels of a label map in the axis order and on the grid of another one, and notes on what was done.

    Axes in another order or direction are reoriented, which changes no voxel value. With `resample` the nearest voxel
    is used where the grids differ; outside of `image` the voxels are 0.

    Raises
    ------
    InputError
        ``other-grid``: the grids differ, and `resample` is False.
    """
    if _same_grid(ref.shape, ref.affine, image.shape, image.affine):
        return image.data, []
    to_ras, back = closest_ras(image.affine), closest_ras(ref.affine)
    data = back.undo(to_ras.apply(image.data))
    turned = to_ras.affine(image.affine, image.shape) @ np.linalg.inv(back.turn(data.shape))
    if _same_grid(ref.shape, ref.affine, data.shape, turned):
        return data, ["The prediction's axes were turned into the order of the reference's."]
    if not resample:
        raise InputError(
            "other-grid",
            None,
            f"its grid is {_words(image)}, the reference's {_words(ref)}",
            "Segment the scan that the reference was drawn on, or give --resample to take the nearest voxels",
        )
    step = np.linalg.inv(image.affine) @ ref.affine
    moved = ndimage.affine_transform(image.data, step[:3, :3], step[:3, 3], output_shape=ref.shape, order=0)
    return moved, [f"The prediction was resampled by nearest voxels from {_words(image)} to {_words(ref)}."]


def _same_grid(
    shape: tuple[int, ...], affine: NDArray[np.float64], other_shape: tuple[int, ...], other: NDArray[np.float64]
) -> bool:
    if tuple(shape) != tuple(other_shape):
        return False
    corners = np.array([[*corner, 1] for corner in product(*((0, side - 1) for side in shape))], dtype=np.float64)
    apart = np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max()
    return bool(apart <= _SAME * np.linalg.norm(affine[:3, :3], axis=0).min())


def _words(image: Image) -> str:
    sides = " x ".join(f"{side:.3g}" for side in image.spacing_mm)
    origin = ", ".join(f"{value:.1f}" for value in image.affine[:3, 3])
    return f"{' x '.join(map(str, image.shape))} of {sides} mm at ({origin})"
