"""Registry of architectures: builders and requirements on the input, by name.

Only the ladder and the published LOD-Brain network segment scans; the others serve for comparisons at equal training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lodbrain.labels import N_CLASSES
from lodbrain.models.lod import Detail, Ladder, LevelConfig


def _ladder(config: dict[str, Any]) -> nn.Module:
    network: nn.Module = Ladder.from_config(config)
    return network


def _lod_brain_2024(config: dict[str, Any]) -> nn.Module:
    from lodbrain.models.lod_brain_2024 import LodBrain2024

    return LodBrain2024(**config)


def _residual_unet(config: dict[str, Any]) -> nn.Module:
    from lodbrain.models.residual_unet import ResidualUNet

    return ResidualUNet(**config)


def _meshnet(config: dict[str, Any]) -> nn.Module:
    from lodbrain.models.meshnet import MeshNet

    return MeshNet(**config)


def _segresnet(config: dict[str, Any]) -> nn.Module:
    from lodbrain.models.borrowed import segresnet

    return segresnet(**config)


def _dynunet(config: dict[str, Any]) -> nn.Module:
    from lodbrain.models.borrowed import dynunet

    return dynunet(**config)


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes
    ----------
    name : str
    build : callable(dict)
        Function from the architecture's options to a network with random weights.
    multiple : int
        Sides of its input are multiples of this.
    segments : bool
        Whether `lodbrain segment` runs it.
    """

    name: str
    build: Callable[[dict[str, Any]], nn.Module]
    multiple: int
    segments: bool = False


REGISTRY: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("lod", _ladder, 1, segments=True),
        Architecture("lod-brain-2024", _lod_brain_2024, 8, segments=True),
        Architecture("residual-unet", _residual_unet, 8),
        Architecture("meshnet", _meshnet, 1),
        Architecture("segresnet", _segresnet, 8),
        Architecture("dynunet", _dynunet, 8),
    )
}


class PlainLevel(nn.Module):
    """Adapter of a plain network to the interface of a level; it ignores the voxel size and the level above.

    Parameters
    ----------
    network : torch.nn.Module
        Maps images (B, 1, X, Y, Z) to logits (B, 33, X, Y, Z).
    multiple : int
        Sides of its input are multiples of this.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.stride = network, multiple

    def forward(self, image: torch.Tensor, log_voxel: torch.Tensor, coarse: Detail | None = None) -> Detail:
        """Return the logits, also as features."""
        logits = self.network(image)
        return Detail(logits, logits)


class Plain(nn.Module):
    """Adapter of a plain network to the interface of a ladder with one level.

    Parameters
    ----------
    name : str
        Key of `REGISTRY`.
    options : dict
        Options of the architecture.
    exponent : int
        log2 of its voxel size in mm.
    """

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
