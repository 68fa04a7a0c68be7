"""Two networks whose posteriors are averaged: the ladder, and a network of tissue classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lodbrain.models.lod import Ladder
from lodbrain.models.lod_brain_2024 import LodBrain2024

#: Architecture in the card of a consensus.
CONSENSUS = "consensus"


def read_members(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the members of a consensus and their weights, by name, the ladder first.

    Parameters
    ----------
    config : mapping
        Of the card: ``{"members": ["default", "lod-brain-2024"], "weights": [0.5, 0.5]}``.

    Raises
    ------
    ValueError
        If there are not two members, or weights that are not above 0 or do not add up to 1.

    Examples
    --------
    >>> read_members({"members": ["default", "lod-brain-2024"], "weights": [0.25, 0.75]})
    {'default': 0.25, 'lod-brain-2024': 0.75}
    """
    names = [str(name) for name in config["members"]]
    weights = [float(weight) for weight in config["weights"]]
    if len(set(names)) != 2 or len(weights) != 2 or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"members must be two, with weights above 0 that add up to 1, got {names} and {weights}")
    return dict(zip(names, weights, strict=True))


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
