"""Narrowing of the ventricles: adjacent tissue takes their outer layers, as in young adults.

The label maps that scans are generated from have enlarged ventricles: in SynthSeg's training maps the lateral
ventricles have 8 to 85 ml, half of them above 37 ml; healthy adults of 20 to 50 years have 5 to 20 ml. Scaling of the
ventricles (`lodbrain.synthesis.deform`) moves their whole neighbourhood; here thalamus, caudate and white matter keep
their outer borders.

References
----------
Carmichael et al. 2007, doi:10.1016/j.neurobiolaging.2006.06.016 (expansion of the ventricles with age).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.streams import Stream
from lodbrain.synthesis.walls import RANK_STEPS, walls_of


@dataclass(frozen=True)
class Ventricles:
    """Reduce lateral ventricles to the innermost `kept` of their volume, inferior horns and third ventricle by less.

    Both lateral ventricles together keep at least 4 ml.
    """

    kept: float

    def narrow(self, labels: LabelMap) -> LabelMap:
        """Return the label map with the outer layers of its ventricles assigned to the adjacent structures."""
        if self.kept >= 1:
            return labels
        walls = walls_of(labels)
        if walls is None:
            return labels
        kept = max(self.kept, walls.least)
        codes = labels.codes.clone()
        inside = codes[walls.box]
        codes[walls.box] = torch.where(walls.rank > 1 + kept * RANK_STEPS, walls.outer, inside)
        return replace(labels, codes=codes)


@dataclass(frozen=True)
class RandomVentricles:
    """Narrow ventricles with probability `affected`; the share that is kept is log-uniform in `kept` to 1.

    Examples
    --------
    >>> 0.12 <= RandomVentricles(affected=1, kept=0.12).draw(Stream(1, "ventricles")).kept <= 1
    True
    """

    affected: float = 0.5
    kept: float = 0.12

    def draw(self, stream: Stream) -> Ventricles | None:
        """Sample the ventricle narrowing for one scan, or return None."""
        if not stream.chance(self.affected):
            return None
        return Ventricles(math.exp(stream.uniform(math.log(self.kept), 0.0)))
