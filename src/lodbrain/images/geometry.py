"""Checks of an affine: errors for impossible values, notes on unusual ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError

MIN_VOXEL_MM, MAX_VOXEL_MM = 0.1, 10.0

#: Ratio of voxel sides above which structures between slices are interpolated rather than imaged.
_THICK_RATIO = 3.0

#: A brain is about 140 x 170 x 130 mm; in a field of view below this, parts of it are cut off.
_SMALL_FIELD_MM = 100.0

#: Cosines between axes from which on shear is noted (half a degree), and is an error (axes at less than 45 degrees).
_NOTED_COSINE, _LARGEST_COSINE = 0.01, np.sqrt(0.5)

#: Values beyond these come from damage: scanners' origins lie within some metres, and no voxel is thinner than an atom.
_FARTHEST_MM, _THINNEST_MM = 1e6, 1e-7

#: Determinant of the unit axes below which they are coplanar; it is 1 at right angles.
_FLAT_DETERMINANT = 1e-3


def check_affine(
    path: Path | None, affine: NDArray[np.float64], shape: tuple[int, int, int], *, allow_odd_voxels: bool = False
) -> list[str]:
    """Check a grid, and return notes on unusual properties.

    Parameters
    ----------
    affine : (4, 4) float64
        Voxel to millimetres.
    allow_odd_voxels : bool
        Whether to accept voxel sides outside 0.1 to 10 mm.

    Raises
    ------
    InputError
        ``bad-affine`` if it is not finite, out of range, singular or sheared by more than 45 degrees. ``odd-voxels``
        if voxel sides are outside 0.1 to 10 mm.
    """
    hint = "Its orientation is lost: convert it again from DICOM"
    if not np.isfinite(affine).all():
        raise InputError("bad-affine", path, "its affine holds values that are not numbers", hint)
    if np.abs(affine).max() > _FARTHEST_MM:
        raise InputError("bad-affine", path, "its affine leads kilometres away", hint)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < _THINNEST_MM:
        raise InputError("bad-affine", path, "its affine is singular", hint)
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < _FLAT_DETERMINANT:
        raise InputError("bad-affine", path, "its affine is singular", hint)
    sides = " x ".join(f"{side:.3g}" for side in spacing)
    rounding = 1 + 1e-4
    odd = spacing.min() * rounding < MIN_VOXEL_MM or spacing.max() > MAX_VOXEL_MM * rounding
    if odd and not allow_odd_voxels:
        raise InputError(
            "odd-voxels",
            path,
            f"its voxels are {sides} mm",
            f"Voxel sides of {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm are expected; --allow-odd-voxels accepts others",
        )
    notes = []
    cosine = shear_cosine(affine)
    if cosine > _LARGEST_COSINE:
        what = f"its axes are sheared by {_degrees(cosine):.0f} degrees, which no scanner does"
        raise InputError("bad-affine", path, what, hint)
    if cosine > _NOTED_COSINE:
        notes.append(f"The axes are sheared by {_degrees(cosine):.1f} degrees.")
    if spacing.max() > _THICK_RATIO * spacing.min():
        notes.append(f"The voxels are strongly anisotropic ({sides} mm): structures between slices are uncertain.")
    field = spacing * shape
    if field.min() < _SMALL_FIELD_MM:
        notes.append(
            f"The field of view is small ({' x '.join(f'{side:.0f}' for side in field)} mm); "
            "volumes of structures that it cuts are too small."
        )
    return notes


def shear_cosine(affine: NDArray[np.float64]) -> float:
    """Return the largest cosine between two axes of an affine (4, 4) that is not singular: 0 at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arcsin(min(cosine, 1.0))))
