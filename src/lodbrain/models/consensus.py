"""Consensus model of two networks whose tissue posteriors are averaged: the ladder, and LOD-Brain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lodbrain.models.lod import Ladder
from lodbrain.models.lod_brain_2024 import LodBrain2024


class Consensus(nn.Module):
    """Ladder with LOD-Brain's network as a second member for tissue posteriors.

    Parameters
    ----------
    ladder : Ladder
        Predicts structures, their sides and CSF.
    second : LodBrain2024
        Predicts tissue posteriors at 1 mm.
    weight : float
        Weight of the second member's tissue posteriors, between 0 and 1.
    ladder_calibration : mapping
        Calibration from the ladder's card, for scans that are segmented without the second member.
    """

    def __init__(
        self, ladder: Ladder, second: LodBrain2024, weight: float, ladder_calibration: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.ladder, self.second, self.weight = ladder, second, weight
        self.ladder_calibration = dict(ladder_calibration or {})


def ladder_in(network: nn.Module) -> Ladder | None:
    """Return a network if it is a ladder, the ladder of a consensus, or None for other architectures."""
    network = network.ladder if isinstance(network, Consensus) else network
    return network if isinstance(network, Ladder) else None
