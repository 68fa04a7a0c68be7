"""Surface distances of two masks in mm, weighted by area, for anisotropic voxels.

The definition is that of DeepMind's surface-distance. The mask's surface runs between the centres of its voxels and
those around it: each cube of 2 x 2 x 2 voxel centres with some inside and some outside holds a *surface element*. Its
area is that of the marching-cubes triangles of its case (one of 256) for the given voxel sides; its position is the
centre of the cube, a corner of the voxels:

::

    o---o---o       o outside, x inside: centres of voxels
    | * | * |       * surface elements, each with the area given by its 8 corners
    o---x---x       voxels outside of the volume count as outside of the mask

A distance is from an element of one surface to the nearest element of the other. The table of areas and the statistics
are the library's. Its own search for distances is not used: it fails on empty masks with NumPy 2, calls deprecated
parts of SciPy, and computes a distance transform of the whole box where a k-d tree of the surface suffices.

References
----------
Nikolov S et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. Journal of Medical
Internet Research 23(7):e26151 (2021), doi:10.2196/26151: surface Dice and surface elements.
Maier-Hein L et al. Metrics reloaded. Nature Methods 21:195-212 (2024), doi:10.1038/s41592-023-02151-z: ASSD.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import surface_distance
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from surface_distance import lookup_tables

#: Number of the case with all eight centres inside.
_FULL = 255


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from each surface to the other, with the areas as their weights.

    Attributes
    ----------
    pred_to_ref, ref_to_pred : (n,) float
        In mm, ascending.
    pred_areas, ref_areas : (n,) float
        In mm^2, in the same order.
    """

    pred_to_ref: NDArray[np.float64]
    ref_to_pred: NDArray[np.float64]
    pred_areas: NDArray[np.float64]
    ref_areas: NDArray[np.float64]

    def hausdorff(self, percent: float = 95.0) -> float:
        """Return the larger of the two percentiles, in mm, of the distances from one surface to the other.

        `percent` is the share of each surface's area within that distance.
        """
        return float(surface_distance.compute_robust_hausdorff(self._for_library(), percent))

    def average(self) -> float:
        """Return the average symmetric surface distance: mean distance in mm over the area of both surfaces."""
        weighted = self.pred_to_ref @ self.pred_areas + self.ref_to_pred @ self.ref_areas
        return float(weighted / (self.pred_areas.sum() + self.ref_areas.sum()))

    def dice(self, tolerance_mm: float) -> float:
        """Return the share of the area of both surfaces that is at most `tolerance_mm` from the other one."""
        return float(surface_distance.compute_surface_dice_at_tolerance(self._for_library(), tolerance_mm))

    def _for_library(self) -> dict[str, NDArray[np.float64]]:
        return {
            "distances_gt_to_pred": self.ref_to_pred,
            "distances_pred_to_gt": self.pred_to_ref,
            "surfel_areas_gt": self.ref_areas,
            "surfel_areas_pred": self.pred_areas,
        }


def surface_distances(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing_mm: NDArray[np.float64] | tuple[float, float, float]
) -> SurfaceDistances | None:
    """Return the distances between the surfaces of two masks, or None if one of them is empty.

    Parameters
    ----------
    pred, ref : (X, Y, Z) bool
        Cropping them to a box around both does not change the result.
    spacing_mm : (3,) float
        Voxel sides.

    Raises
    ------
    ValueError
        If the shapes differ, or a voxel side is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> cube = np.zeros((9, 9, 9), bool)
    >>> cube[2:5, 2:7, 2:7] = True
    >>> shifted = np.roll(cube, 1, axis=0)
    >>> distances = surface_distances(cube, shifted, (0.5, 1.0, 1.0))
    >>> distances.hausdorff(), distances.dice(0.5), surface_distances(cube, cube & False, (0.5, 1, 1))
    (0.5, 1.0, None)
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if pred.shape != ref.shape or pred.ndim != 3:
        raise ValueError(f"pred and ref must have one shape (X, Y, Z), got {pred.shape} and {ref.shape}")
    if spacing.shape != (3,) or not (spacing > 0).all():
        raise ValueError(f"spacing_mm must be three positive numbers, got {spacing_mm}")
    if not pred.any() or not ref.any():
        return None
    pred_cases, ref_cases = _cases(pred), _cases(ref)
    pred_on, ref_on = ((cases != 0) & (cases != _FULL) for cases in (pred_cases, ref_cases))
    areas = _areas(*spacing.tolist())
    pred_to_ref, pred_areas = _sorted(_nearest(pred_on, ref_on, spacing), areas[pred_cases[pred_on]])
    ref_to_pred, ref_areas = _sorted(_nearest(ref_on, pred_on, spacing), areas[ref_cases[ref_on]])
    return SurfaceDistances(pred_to_ref, ref_to_pred, pred_areas, ref_areas)


@lru_cache(maxsize=8)
def _areas(x: float, y: float, z: float) -> NDArray[np.float64]:
    """(256,): area in mm^2 of each case of eight centres."""
    table = lookup_tables.create_table_neighbour_code_to_surface_area((x, y, z))
    return np.asarray(table, dtype=np.float64)


def _cases(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(X+1, Y+1, Z+1): which of the 8 voxels around each corner are inside, as the bits of the library's tables."""
    inside = np.pad(mask, 1).view(np.uint8)
    nx, ny, nz = (side - 1 for side in inside.shape)
    cases = np.zeros((nx, ny, nz), dtype=np.uint8)
    for x, y, z in product((0, 1), repeat=3):
        bit = int(lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL[x, y, z])
        cases += inside[x : x + nx, y : y + ny, z : z + nz] * np.uint8(bit)
    return cases


def _nearest(start: NDArray[np.bool_], goal: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): distance in mm from each element of `start`, in C order, to the nearest of `goal`."""
    distances = np.zeros(int(np.count_nonzero(start)))
    away = ~goal[start]
    if away.any():
        elements, goals = np.argwhere(start)[away], np.argwhere(goal)
        # An unbalanced tree of grid points is built in a fraction of the time, and searches are as fast.
        tree = cKDTree(goals * spacing_mm, balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(elements * spacing_mm)
        # Computed from integer steps, not from positions: one step of 0.7 mm is 0.7, not 0.7000000000000002.
        distances[away] = np.sqrt((((elements - goals[nearest]) * spacing_mm) ** 2).sum(axis=1))
    return distances


def _sorted(
    distances: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # By distance, then by area, as in the library: a percentile at a tie then falls on the same element.
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]
