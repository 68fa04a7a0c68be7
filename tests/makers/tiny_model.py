"""A head of ellipsoids and a model of two tiny levels: the whole path of a scan in a tenth of a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder

#: Oblique, of 6 mm voxels: a field of view of 192 x 216 x 180 mm.
SHAPE = (32, 36, 30)
_TURN = np.deg2rad(9)
AFFINE = np.eye(4)
AFFINE[:3, :3] = 6 * np.array([[np.cos(_TURN), -np.sin(_TURN), 0], [np.sin(_TURN), np.cos(_TURN), 0], [0, 0, 1]])
AFFINE[:3, 3] = -90, -110, -80

#: Inside of each radius: intensity.
_SHELLS = ((0.95, 300.0), (0.85, 80.0), (0.75, 600.0), (0.55, 900.0), (0.25, 120.0))

LEVELS = ({"exponent": 2, "channels": [4, 8]}, {"exponent": 1, "channels": [4, 8], "sided": False})


def head(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> NDArray[np.int16]:
    """Shells of a head with noise, a little different on the two sides."""
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) * (1 + 0.05 * x + 0.03 * y)
    values = np.full(shape, 10.0)
    for limit, intensity in _SHELLS:
        values[radius < limit] = intensity
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    return np.clip(values + noise, 1, None).astype(np.int16)


def save_tiny_model(path: Path, levels: Sequence[Mapping[str, object]] = LEVELS) -> Path:
    """Write a model of 4 and 2 mm, or other levels, with random weights that calls nearly everything brain."""
    config = {"levels": [dict(level) for level in levels]}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Ladder.from_config(config)
        with torch.no_grad():
            for level in network.levels:
                level.head.weight.normal_()
                level.head.bias[0] = -3
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = Card("tiny", "lod", "structures", config, path.name, "", "", "", "", "random", parameters)
    zoo.save(path, card, network.state_dict())
    return path


def save_tiny_consensus(folder: Path) -> str:
    """Fill an empty folder of models with the package's and a consensus of a tiny ladder and LOD-Brain; its name."""
    for path in zoo.MODELS.iterdir():
        (folder / path.name).symlink_to(path)
    levels = (*LEVELS, {"exponent": 0, "channels": [4, 8], "sided": False})
    card, network = zoo.load(str(save_tiny_model(folder / "tiny.safetensors", levels)))
    zoo.save_with_card(folder / "tiny.safetensors", replace(card, file="tiny.safetensors"), network.state_dict())
    config = {"members": ["tiny", "lod-brain-2024"], "weights": [0.5, 0.5]}
    both = replace(zoo.card("accurate"), name="tiny-accurate", config=config, quality={})
    (folder / "tiny-accurate.json").write_text(both.to_json())
    return both.name
