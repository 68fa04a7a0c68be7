"""Registry of architectures: builders and requirements on the input, by name.

Only the ladder and the published LOD-Brain network segment scans; the others serve for comparisons at equal training.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from lodbrain.labels import N_CLASSES
from lodbrain.models.lod import LevelConfig, LevelOutput


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes
    ----------
    place : str
        ``module:function``, which returns the network with random weights; its module is imported when it is called.
    multiple : int
        Sides of its input are multiples of this.
    segments : bool
        Whether `lodbrain segment` runs it.
    """

    name: str
    place: str
    multiple: int
    segments: bool = False

    def build(self, options: dict[str, Any]) -> nn.Module:
        """Return the network with random weights."""
        module, _, name = self.place.partition(":")
        make = getattr(import_module(f"lodbrain.models.{module}"), name)
        network: nn.Module = make.from_config(options) if hasattr(make, "from_config") else make(**options)
        return network


REGISTRY: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("lod", "lod:Ladder", 1, segments=True),
        Architecture("lod-brain-2024", "lod_brain_2024:LodBrain2024", 8, segments=True),
        Architecture("meshnet", "comparison_networks:MeshNet", 1),
        Architecture("segresnet", "comparison_networks:segresnet", 8),
        Architecture("dynunet", "comparison_networks:dynunet", 8),
    )
}


class PlainLevel(nn.Module):
    """Adapter of a plain network to the interface of a level; it ignores the voxel size and the level above.

    The network maps images (B, 1, X, Y, Z) to logits (B, 33, X, Y, Z); sides of its input are multiples of `multiple`.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.stride = network, multiple

    def forward(self, image: torch.Tensor, log_voxel: torch.Tensor, coarse: LevelOutput | None = None) -> LevelOutput:
        """Return the logits, also as features."""
        logits = self.network(image)
        return LevelOutput(logits, logits)


class Plain(nn.Module):
    """Adapter of a plain network, a key of `REGISTRY`, to the interface of a ladder with one level of this exponent."""

    def __init__(self, name: str, options: dict[str, Any], exponent: int) -> None:
        super().__init__()
        entry = REGISTRY[name]
        classes = {"classes": N_CLASSES}
        self.levels = nn.ModuleList([PlainLevel(entry.build({**classes, **options}), entry.multiple)])
        self.configs = (LevelConfig(exponent, ()),)

    def level(self, position: int) -> PlainLevel:
        """Return the only level, at position 0."""
        level = self.levels[position]
        assert isinstance(level, PlainLevel)
        return level
