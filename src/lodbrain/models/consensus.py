"""Two networks whose posteriors are averaged: the ladder, and a network of tissue classes."""

from __future__ import annotations

from torch import nn

from lodbrain.models.lod import Ladder
from lodbrain.models.lod_brain_2024 import LodBrain2024


class Consensus(nn.Module):
    """A ladder, and LOD-Brain's network as a second opinion on its tissues.

    Parameters
    ----------
    ladder : Ladder
        Gives the structures, their sides and the CSF.
    second : LodBrain2024
        Gives tissue posteriors at 1 mm.
    weight : float
        Of the second member's tissue posteriors, between 0 and 1.
    """

    def __init__(self, ladder: Ladder, second: LodBrain2024, weight: float) -> None:
        super().__init__()
        self.ladder, self.second, self.weight = ladder, second, weight
