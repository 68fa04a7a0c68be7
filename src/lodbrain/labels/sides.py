"""Side of voxels by position, for labels without a side and for label maps without sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial import cKDTree

#: Number of voxels on each side whose distances are averaged. A single one gives ties and a ragged border midway.
_NEIGHBOURS = 8

#: Number of points that the plane of symmetry is fitted to, and rotations (radians) and shifts (mm) to start from.
_MOST_POINTS = 20_000
_FIRST_TURNS, _FIRST_SHIFTS_MM = (-0.3, 0.0, 0.3), (-8.0, 0.0, 8.0)

#: Largest angle (radians) between the plane and the world's mid-sagittal plane, since a hemisphere may be symmetric
#: from front to back.
_LARGEST_TURN = 0.8


@dataclass(frozen=True, eq=False)
class Midplane:
    """Plane between the hemispheres.

    Attributes
    ----------
    normal : (3,) float64
        Unit vector to the right, in world coordinates (RAS+).
    offset_mm : float
        A point x (mm, world) lies on the right if normal . x > offset_mm.
    symmetry : float
        Share of labelled voxels whose mirror image has the same label, 0 to 1.
    """

    normal: NDArray[np.float64]
    offset_mm: float
    symmetry: float

    def is_right(self, shape: tuple[int, ...], affine: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return the mask (X, Y, Z) bool of voxels whose centre lies to the right of the plane."""
        # normal . (A i + t) > offset, computed axis by axis
        slope = self.normal @ affine[:3, :3]
        x, y, z = (slope[axis] * np.arange(shape[axis]) for axis in range(3))
        along = x[:, None, None] + y[:, None] + z
        return np.asarray(along > self.offset_mm - self.normal @ affine[:3, 3])


def nearer_to_right(
    voxels: NDArray[np.bool_],
    left: NDArray[np.bool_],
    right: NDArray[np.bool_],
    affine: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """Return for each of some voxels whether voxels of the right side are nearer than those of the left.

    Mean distances in mm to the eight nearest voxels of each side are compared, so that the result depends neither on
    the order and direction of the axes nor on an assumed midplane. Ties count as left.

    Parameters
    ----------
    voxels : (X, Y, Z) bool
        Voxels whose side is to be determined.
    left, right : (X, Y, Z) bool
        Voxels whose side is known.
    affine : (4, 4) or (3, 3) float
        Voxel to world, mm.

    Returns
    -------
    (N,) bool
        In the order of ``np.argwhere(voxels)``.

    Raises
    ------
    ValueError
        If neither side has a voxel.
    """
    if not left.any() and not right.any():
        raise ValueError("left or right must have a voxel, got none")
    to_mm = np.asarray(affine, np.float64)[:3, :3].T
    points = np.argwhere(voxels) @ to_mm
    distances = []
    for side in (left, right):
        known = np.argwhere(side) @ to_mm
        if not len(known):
            distances.append(np.full(len(points), np.inf))
            continue
        tree = cKDTree(known, balanced_tree=False, compact_nodes=False)
        near, _ = tree.query(points, k=np.arange(1, min(_NEIGHBOURS, len(known)) + 1))
        distances.append(near.mean(1))
    # Differences below a micrometre are rounding errors.
    return np.asarray(distances[1] < distances[0] - 1e-3)


def fit_midplane(labels: NDArray[np.integer], affine: NDArray[np.floating]) -> Midplane:
    """Return the plane about which a label map is most symmetric.

    The initial plane is perpendicular to the world's left-right axis, through the centre of the labels. It is rotated
    by up to 0.8 radians (46 degrees) about each of the two other axes.

    Parameters
    ----------
    labels : (X, Y, Z) int
        A brain without sides: both halves of a structure have the same number. 0 is background.
    affine : (4, 4) float
        Voxel to world (RAS+), mm.

    Raises
    ------
    ValueError
        If there is no label.
    """
    where = np.argwhere(labels)
    if not len(where):
        raise ValueError("labels must hold a structure, got background only")
    where = where[:: max(1, len(where) // _MOST_POINTS)]
    points = where @ affine[:3, :3].T + affine[:3, 3]
    centre, values = points.mean(0), labels[tuple(where.T)]
    points -= centre
    inverse = np.linalg.inv(affine)
    start = inverse[:3, :3] @ centre + inverse[:3, 3]

    def symmetry(yaw: float, roll: float, shift_mm: float) -> float:
        if max(abs(yaw), abs(roll)) > _LARGEST_TURN:
            return 0.0
        normal = _normal(yaw, roll)
        mirrored = points - 2 * ((points @ normal) - shift_mm)[:, None] * normal
        at = (mirrored @ inverse[:3, :3].T + start).T
        return float(np.mean(ndimage.map_coordinates(labels, at, order=0, mode="constant") == values))

    first = max(
        ((yaw, roll, shift) for yaw in _FIRST_TURNS for roll in _FIRST_TURNS for shift in _FIRST_SHIFTS_MM),
        key=lambda place: symmetry(*place),
    )
    simplex = np.array([first, *(np.array(first) + step for step in np.diag([0.12, 0.12, 4.0]))])
    found = optimize.minimize(
        lambda place: -symmetry(*place),
        first,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-4},
    )
    yaw, roll, shift_mm = found.x.tolist()
    normal = _normal(yaw, roll)
    return Midplane(normal, float(normal @ centre + shift_mm), -float(found.fun))


def _normal(yaw: float, roll: float) -> NDArray[np.float64]:
    """Return the world's x axis, rotated about z and y (radians)."""
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])
