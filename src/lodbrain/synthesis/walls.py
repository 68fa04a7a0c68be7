"""Depth of each ventricle voxel in a label map, and the tissue of its wall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.synthesis.label_map import CODE_OF_RAW, LabelMap

#: Cavities that are narrowed: lateral ventricles with their choroid plexus, inferior horns, third ventricle. Each has
#: an exponent: with `kept` of the lateral ventricles, kept ** exponent of the cavity remains. Inferior horns and third
#: ventricle differ less between young and old adults.
_CAVITIES = (((4, 136), 1.0), ((43, 163), 1.0), ((5, 137), 0.5), ((44, 164), 0.5), ((14,), 0.5))
_ALL = tuple(CODE_OF_RAW[raw] for raws, _ in _CAVITIES for raw in raws)
#: Least volume of both lateral ventricles together: about the smallest of healthy adults.
_LEAST_ML = 4.0
#: Steps between the ranks 1 and 255, which fit in uint8.
RANK_STEPS = 254


@dataclass(frozen=True, eq=False)
class Walls:
    """Ventricles of a label map, in the box around them.

    Attributes
    ----------
    rank : (X, Y, Z) uint8 tensor
        1 for the innermost voxels of a cavity, up to 255 for the outermost; 0 outside. Equal steps are equal shares of
        the volume that the cavity keeps, by its exponent.
    outer : (X, Y, Z) uint8 tensor
        Code of the nearest voxel outside the ventricles.
    least : float
        `_LEAST_ML` as a share of these lateral ventricles' volume.
    """

    box: tuple[slice, slice, slice]
    rank: torch.Tensor
    outer: torch.Tensor
    least: float


_MEASURED: WeakKeyDictionary[LabelMap, Walls | None] = WeakKeyDictionary()


def walls_of(labels: LabelMap) -> Walls | None:
    """Return the walls of a map, computed once for each `LabelMap`; None where it has no ventricles."""
    if labels not in _MEASURED:
        _MEASURED[labels] = measure(labels)
    return _MEASURED[labels]


def set_walls(labels: LabelMap, walls: Walls | None) -> None:
    """Set the walls of a map from a cache instead of computing them, which takes a second for a map of 0.5 mm."""
    _MEASURED[labels] = walls


def measure(labels: LabelMap) -> Walls | None:
    """Compute the walls of a map; None where it has no ventricles."""
    codes = labels.codes.cpu().numpy()
    ventricles = np.isin(codes, _ALL)
    if not ventricles.any():
        return None
    found = ndimage.find_objects(ventricles.astype(np.uint8))[0]
    x, y, z = (slice(max(0, a.start - 1), a.stop + 1) for a in found)
    codes, ventricles = codes[x, y, z], ventricles[x, y, z]
    spacing = labels.spacing_mm.tolist()
    depth, nearest = ndimage.distance_transform_edt(ventricles, spacing, return_indices=True)
    rank = np.zeros(codes.shape, np.uint8)
    for raws, power in _CAVITIES:
        cavity = np.isin(codes, [CODE_OF_RAW[raw] for raw in raws])
        rank[cavity] = _ranks(depth[cavity], power)
    lateral = [CODE_OF_RAW[raw] for raws, power in _CAVITIES for raw in raws if power == 1]
    lateral_ml = np.isin(codes, lateral).sum() * math.prod(spacing) / 1000
    device = labels.codes.device
    return Walls(
        (x, y, z),
        torch.from_numpy(rank).to(device),
        torch.from_numpy(codes[tuple(nearest)]).to(device),
        min(1.0, _LEAST_ML / max(lateral_ml, 1e-3)),
    )


def _ranks(depth: NDArray[np.float64], power: float) -> NDArray[np.uint8]:
    """Return ranks from 1 (deepest voxel) to 255: 1 + 254 * (share of the cavity that is deeper) ** (1 / power)."""
    order = np.empty(len(depth), np.int64)
    order[np.argsort(-depth, kind="stable")] = np.arange(len(depth))
    share = (order / max(1, len(depth))) ** (1 / power)
    ranks: NDArray[np.uint8] = (1 + np.ceil(share * RANK_STEPS)).astype(np.uint8)
    return ranks
