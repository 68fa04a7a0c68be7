"""Narrow ventricles: what lies around them moves in, as in the young.

Label maps come from whoever was scanned. SynthSeg's have lateral ventricles of 8 to 85 ml, half of them above 37 ml; a
healthy adult of 20 to 50 years has 5 to 20 ml. Swelling (`lodbrain.synthesis.deform`) takes the whole neighbourhood
along; here thalamus, caudate and white matter keep their outer borders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.synthesis.labelmaps import CODE_OF_RAW, LabelMap
from lodbrain.synthesis.streams import Stream

#: Cavities that narrow by themselves: lateral ventricles with their choroid plexus, inferior horns, third ventricle.
#: With each the power of the share that it keeps: inferior horns and third ventricle differ less between the young
#: and the old.
_CAVITIES = (((4, 136), 1.0), ((43, 163), 1.0), ((5, 137), 0.5), ((44, 164), 0.5), ((14,), 0.5))
_ALL = tuple(CODE_OF_RAW[raw] for raws, _ in _CAVITIES for raw in raws)
#: No lateral ventricles are made smaller than this, both together: about the smallest of healthy adults.
_LEAST_ML = 4.0
#: Ranks are kept in a byte.
_STEPS = 254


@dataclass(frozen=True, eq=False)
class _Walls:
    """Of a label map, in the box around its ventricles.

    Attributes
    ----------
    box : tuple of 3 slice
    rank : (X, Y, Z) uint8 tensor
        1 for the innermost voxels of a cavity, up to 255 for the outermost; 0 outside. Equal steps are equal shares of
        what the cavity keeps, by its own power.
    outer : (X, Y, Z) uint8 tensor
        Code of the nearest voxel that is no ventricle.
    least : float
        Share that lateral ventricles of `_LEAST_ML` are of these.
    """

    box: tuple[slice, slice, slice]
    rank: torch.Tensor
    outer: torch.Tensor
    least: float


_WALLS: WeakKeyDictionary[LabelMap, _Walls | None] = WeakKeyDictionary()


@dataclass(frozen=True)
class Ventricles:
    """Lateral ventricles keep the innermost `kept` of their volume, inferior horns and third ventricle more of it.

    No less than 4 ml in both lateral ventricles together.
    """

    kept: float

    def narrow(self, labels: LabelMap) -> LabelMap:
        """The label map with the outer layers of its ventricles given to what lies next to them."""
        if self.kept >= 1:
            return labels
        if labels not in _WALLS:
            _WALLS[labels] = _walls(labels)
        walls = _WALLS[labels]
        if walls is None:
            return labels
        kept = max(self.kept, walls.least)
        codes = labels.codes.clone()
        inside = codes[walls.box]
        codes[walls.box] = torch.where(walls.rank > 1 + kept * _STEPS, walls.outer, inside)
        return replace(labels, codes=codes)


@dataclass(frozen=True)
class RandomVentricles:
    """A part `affected` of the scans has narrow ventricles, which keep between `kept` and all, log-uniformly."""

    affected: float = 0.5
    kept: float = 0.12

    def draw(self, stream: Stream) -> Ventricles | None:
        """Draw those of one scan, or none."""
        if not stream.chance(self.affected):
            return None
        return Ventricles(math.exp(stream.uniform(math.log(self.kept), 0.0)))


def _walls(labels: LabelMap) -> _Walls | None:
    """Measure a map once; None where it has no ventricles."""
    codes = labels.codes.cpu().numpy()
    hollow = np.isin(codes, _ALL)
    if not hollow.any():
        return None
    found = ndimage.find_objects(hollow.astype(np.uint8))[0]
    x, y, z = (slice(max(0, a.start - 1), a.stop + 1) for a in found)
    codes, hollow = codes[x, y, z], hollow[x, y, z]
    spacing = labels.spacing_mm.tolist()
    depth, nearest = ndimage.distance_transform_edt(hollow, spacing, return_indices=True)
    rank = np.zeros(codes.shape, np.uint8)
    for raws, power in _CAVITIES:
        cavity = np.isin(codes, [CODE_OF_RAW[raw] for raw in raws])
        rank[cavity] = _ranks(depth[cavity], power)
    lateral = [CODE_OF_RAW[raw] for raws, power in _CAVITIES for raw in raws if power == 1]
    lateral_ml = np.isin(codes, lateral).sum() * math.prod(spacing) / 1000
    device = labels.codes.device
    return _Walls(
        (x, y, z),
        torch.from_numpy(rank).to(device),
        torch.from_numpy(codes[tuple(nearest)]).to(device),
        min(1.0, _LEAST_ML / max(lateral_ml, 1e-3)),
    )


def _ranks(depth: NDArray[np.float64], power: float) -> NDArray[np.uint8]:
    """1 for the deepest to 255: a voxel stays where no more than `kept` ** `power` of its cavity is deeper."""
    order = np.empty(len(depth), np.int64)
    order[np.argsort(-depth, kind="stable")] = np.arange(len(depth))
    share = (order / max(1, len(depth))) ** (1 / power)
    ranks: NDArray[np.uint8] = (1 + np.ceil(share * _STEPS)).astype(np.uint8)
    return ranks
