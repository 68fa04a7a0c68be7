"""Ladder: one small U-Net per level of detail, coarse to fine.

The coarsest level segments the whole head. Each finer level takes the image at twice the resolution, is conditioned on
the coarser level's features and posteriors, and corrects its logits::

    image 4 mm ---> level 2 ---> logits, features
                                   |  x2
    image 2 mm ---> level 1 ---> + logits, features
                                   |  x2
    image 1 mm ---> level 0 ---> + logits

Levels are numbered by the power of two of their nominal voxel size in mm.

References
----------
Svanera et al. 2024, doi:10.1016/j.media.2024.103090.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from lodbrain.labels import N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.models.blocks import (
    PlainConv,
    Residual,
    StandardConv,
    activate,
    depth_to_space,
    double,
    space_to_depth,
)

_LEFT = [c for c, label in enumerate(STRUCTURES) if label.side == "left"]
_RIGHT = [c for c, label in enumerate(STRUCTURES) if label.side == "right"]


@dataclass(frozen=True)
class LevelConfig:
    """Configuration of one level of the ladder.

    Attributes
    ----------
    exponent : int
        log2 of the nominal voxel size in mm: 2 for 4 mm, 0 for 1 mm, -1 for 0.5 mm.
    channels : tuple of int
        Feature channels at the level's own resolution and after each pooling by 2.
    sided : bool
        Whether the level has separate classes for left and right. If not, the side comes from the level above.
    block : int
        1, or 2 for a level that works on blocks of 2 x 2 x 2 voxels: the voxels of a block are channels of its input,
        and it scores all eight at once. `channels` then start at the grid of the blocks, which is that of the level
        above.
    residuals : int
        Number of residual blocks at the first resolution.
    """

    exponent: int
    channels: tuple[int, ...]
    sided: bool = True
    block: int = 1
    residuals: int = 1

    def __post_init__(self) -> None:
        if self.block not in (1, 2):
            raise ValueError(f"block must be 1 or 2, got {self.block}")
        if self.residuals < 1:
            raise ValueError(f"residuals must be at least 1, got {self.residuals}")

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> LevelConfig:
        """Return the level described by a card's row; the inverse of `to_row`."""
        return cls(
            int(row["exponent"]),
            tuple(int(c) for c in row["channels"]),
            bool(row.get("sided", True)),
            int(row.get("block", 1)),
            int(row.get("residuals", 1)),
        )

    def to_row(self) -> dict[str, Any]:
        """Return the row of a card; `block` and `residuals` only if they are not 1."""
        row: dict[str, Any] = {"exponent": self.exponent, "channels": list(self.channels), "sided": self.sided}
        return row | {key: n for key, n in (("block", self.block), ("residuals", self.residuals)) if n != 1}


@dataclass(frozen=True, eq=False)
class LevelOutput:
    """Level output: features and logits, on which the next level is conditioned.

    Attributes
    ----------
    features : (B, F, X, Y, Z) tensor
        Features, or the logits again if the level works on blocks and so has no features on the voxel grid.
    logits : (B, C, X, Y, Z) tensor
        33 classes, or 19 without sides.
    side : (B, 1, X, Y, Z) tensor or None
        Log odds of left against right, if the logits have no sides.
    """

    features: torch.Tensor
    logits: torch.Tensor
    side: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> LevelOutput:
        """Return the output with a function applied to each of its tensors."""
        return LevelOutput(
            function(self.features), function(self.logits), None if self.side is None else function(self.side)
        )


def merge_sides(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, 19, X, Y, Z) and log odds of left (B, 1, X, Y, Z) from logits (B, 33, X, Y, Z)."""
    left, right = logits[:, _LEFT], logits[:, _RIGHT]
    both = torch.logaddexp(left, right)
    order = [SIDELESS_OF_CLASS[c] for c in _LEFT]
    sideless = logits.new_empty((logits.shape[0], len(SIDELESS), *logits.shape[2:]))
    sideless[:, order] = both
    middle = [c for c, label in enumerate(STRUCTURES) if label.side is None]
    sideless[:, [SIDELESS_OF_CLASS[c] for c in middle]] = logits[:, middle]
    side = left.logsumexp(1, keepdim=True) - right.logsumexp(1, keepdim=True)
    return sideless, side


def split_sides(sideless: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Return log posteriors (B, 33, X, Y, Z) from (B, 19, X, Y, Z) and log odds of the side: inverse of `merge_sides`.

    Parameters
    ----------
    side : (B, 1, X, Y, Z) tensor
        Log odds of left against right, the same for every paired structure.
    """
    out = sideless[:, torch.as_tensor(SIDELESS_OF_CLASS, device=sideless.device)]
    out[:, _LEFT] += nn.functional.logsigmoid(side)
    out[:, _RIGHT] += nn.functional.logsigmoid(-side)
    return out


class Level(nn.Module):
    """U-Net of one level, with strided convolutions, trilinear upsampling by 2, and additive skip connections.

    Parameters
    ----------
    coarse_channels : int
        Number of features plus classes of the level above; 0 for the coarsest.
    """

    def __init__(self, config: LevelConfig, coarse_channels: int = 0) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        classes = N_CLASSES if config.sided else len(SIDELESS)
        per_block = config.block**3
        self.entry = StandardConv(per_block + 1, channels[0])
        self.context = nn.Conv3d(coarse_channels, channels[0], 1) if coarse_channels else None
        self.down = nn.ModuleList(StandardConv(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.encode = nn.ModuleList(Residual(c) for c in channels)
        self.more = nn.ModuleList(Residual(channels[0]) for _ in range(config.residuals - 1))
        self.up = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairwise(channels))
        self.decode = nn.ModuleList(PlainConv(c, c) for c in channels[:-1])
        self.head = nn.Conv3d(channels[0], classes * per_block, 1)
        self.trust = nn.Parameter(torch.ones(())) if coarse_channels else None
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        if coarse_channels:
            nn.init.zeros_(self.head.weight)  # initial output: the coarse level's logits

    @property
    def stride(self) -> int:
        """Multiple in voxels that tiles of this level are aligned to."""
        return self.config.block << (len(self.config.channels) - 1)

    @property
    def radius(self) -> int:
        """Receptive radius in voxels of this level, rounded up to `stride`."""
        depth = len(self.config.channels) - 1
        reach = 1 + sum(2 << d for d in range(depth + 1))  # entry, two convolutions at every scale
        reach += sum(1 << d for d in range(depth))  # decoding
        reach += sum(2 << d for d in range(depth))  # doubling
        reach += 2 * (self.config.residuals - 1)
        reach = reach * self.config.block + self.config.block - 1  # measured between the far ends of two blocks
        stride = self.stride
        return -(-reach // stride) * stride

    def forward(self, image: torch.Tensor, log_voxel: torch.Tensor, coarse: LevelOutput | None = None) -> LevelOutput:
        """Return the level output.

        Parameters
        ----------
        image : (B, 1, X, Y, Z) tensor
            Normalised image; sides are multiples of `stride`.
        log_voxel : (B,) tensor
            log2 of the voxel side over the level's nominal one.
        coarse : LevelOutput or None
            Output of the level above, on voxels twice as large with the same corner; its sides are at least half of the
            image's.
        """
        shape, edge = image.shape[2:], self.config.block
        seen = image if edge == 1 else space_to_depth(image, edge)
        voxel_size = log_voxel.to(image.dtype).view(-1, 1, 1, 1, 1).expand(-1, 1, *seen.shape[2:])
        x = self.entry(torch.cat([seen, voxel_size], 1))
        prior = side = None
        if coarse is not None and self.context is not None and self.trust is not None:
            prior, side = coarse.logits, coarse.side
            if not self.config.sided and side is None:
                prior, side = merge_sides(prior)
            context = self.context(torch.cat([coarse.features, prior.softmax(1)], 1))
            x = x + (double(context, shape) if edge == 1 else context[..., : x.shape[2], : x.shape[3], : x.shape[4]])
            prior = self.trust * double(prior, shape)
            side = None if side is None else double(side, shape)
        skips = []
        for residual in self.more:
            x = residual(x)
        for encode, down in zip(self.encode, self.down, strict=False):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.encode[-1](x)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decode), reversed(skips), strict=True):
            x = decode(skip + double(up(x), skip.shape[2:]))
        x = activate(x)
        logits = self.head(x)
        if edge > 1:
            logits = depth_to_space(logits, edge)
        logits = logits if prior is None else logits + prior
        return LevelOutput(x if edge == 1 else logits, logits, side)


class Ladder(nn.Module):
    """Network of several levels, coarsest first; exponents decrease by one."""

    def __init__(self, levels: tuple[LevelConfig, ...]) -> None:
        super().__init__()
        exponents = [level.exponent for level in levels]
        if not levels or exponents != list(range(exponents[0], exponents[0] - len(levels), -1)):
            raise ValueError(f"levels must go from coarse to fine in steps of one, got exponents {exponents}")
        if any(level.block > 1 for level in (levels[0], *levels[:-1])):
            raise ValueError("only the finest of several levels can work on blocks: none below it gets features")
        self.levels = nn.ModuleList()
        above: LevelConfig | None = None
        for level in levels:
            conditioning = N_CLASSES if level.sided else len(SIDELESS)
            self.levels.append(Level(level, above.channels[0] + conditioning if above else 0))
            above = level
        self.configs = levels

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Ladder:
        """Return the ladder of a card's configuration, with random weights.

        It has the form ``{"levels": [{"exponent": 2, "channels": [16, 32], "sided": true}, ...]}``.
        """
        return cls(tuple(LevelConfig.from_row(row) for row in config["levels"]))

    def level(self, position: int) -> Level:
        """Return the level at a position, 0 for the coarsest."""
        level = self.levels[position]
        assert isinstance(level, Level)
        return level

    def level_for(self, voxel_mm: float) -> int:
        """Return the position of the finest level that a scan of this voxel size uses."""
        exponent = round(math.log2(voxel_mm))
        position = self.configs[0].exponent - exponent
        return min(max(position, 0), len(self.configs) - 1)
