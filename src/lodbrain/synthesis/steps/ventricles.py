"""Narrow ventricles: what lies around them moves in, as in the young.

Label maps come from whoever was scanned. SynthSeg's have lateral ventricles of 8 to 85 ml, half of them above 37 ml; a
healthy adult of 20 to 50 years has 5 to 20 ml. Swelling (`lodbrain.synthesis.deform`) takes the whole neighbourhood
along; here thalamus, caudate and white matter keep their outer borders.
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
    """Lateral ventricles keep the innermost `kept` of their volume, inferior horns and third ventricle more of it.

    No less than 4 ml in both lateral ventricles together.
    """

    kept: float

    def narrow(self, labels: LabelMap) -> LabelMap:
        """The label map with the outer layers of its ventricles given to what lies next to them."""
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
    """A part `affected` of the scans has narrow ventricles, which keep between `kept` and all, log-uniformly."""

    affected: float = 0.5
    kept: float = 0.12

    def draw(self, stream: Stream) -> Ventricles | None:
        """Draw those of one scan, or none."""
        if not stream.chance(self.affected):
            return None
        return Ventricles(math.exp(stream.uniform(math.log(self.kept), 0.0)))
