"""Published LOD-Brain network; `inference.lod_brain_2024_volume` runs it on a volume with a quarter of the memory.

References
----------
Svanera, M., Savardi, M., Signoroni, A., Benini, S., Muckli, L. (2024). Fighting the scanner effect in brain MRI
segmentation with a progressive level-of-detail network trained on multi-site data. Medical Image Analysis 93:103090,
doi:10.1016/j.media.2024.103090. Weights: https://github.com/rockNroll87q/LOD-Brain (MIT).
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

#: Multiple of every side of the input: it is halved three times, by max pooling and two strided convolutions.
MULTIPLE: Final = 8
CLASSES: Final = 7
#: tensorflow-addons' default; PyTorch's is 1e-5.
EPSILON: Final = 1e-3
GROUPS: Final = 8


class Block(nn.Module):
    """Block of a 3x3x3 convolution with GroupNorm and ReLU, and a strided convolution to half or double size with ReLU.

    Parameters
    ----------
    channels, filters : int
        Input channels; channels of the 3x3x3 convolution. The output has 4 x `filters` channels.
    step : type
        `nn.Conv3d` halves the sides, `nn.ConvTranspose3d` doubles them.
    dropout : float
        Share of values dropped before the strided convolution in training.
    """

    def __init__(
        self, channels: int, filters: int, step: type[nn.Conv3d] | type[nn.ConvTranspose3d], *, dropout: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, filters, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, filters, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.step = step(filters, 4 * filters, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 x filters, ...) at half or double the size of `x` (B, channels, ...)."""
        return F.relu_(self.step(self.dropout(F.relu_(self.norm(self.conv(x))))))


class Coarse(nn.Module):
    """Level 0: a U-Net of two steps on the volume max-pooled by 2, without its last layers."""

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 32, 3, padding=1)
        self.down = nn.ModuleList(
            [Block(32, 16, nn.Conv3d, dropout=dropout), Block(64, 32, nn.Conv3d, dropout=dropout)]
        )
        self.up = nn.ModuleList(
            [Block(128, 16, nn.ConvTranspose3d, dropout=dropout), Block(64, 8, nn.ConvTranspose3d, dropout=dropout)]
        )
        self.out = nn.Conv3d(32, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 32, X/2, Y/2, Z/2) of a volume (B, 1, X, Y, Z)."""
        skip = self.stem(F.max_pool3d(x, 2))
        skip_half = self.down[0](skip)
        half: Tensor = self.up[0](self.down[1](skip_half)) + skip_half
        features: Tensor = self.up[1](half) + skip
        return features


class LodBrain2024(nn.Module):
    """LOD-Brain as published (Svanera et al. 2024, doi:10.1016/j.media.2024.103090): 337,719 parameters, two levels.

    ::

        x -> max pool 2 -> [ U-Net of two steps ] -> features -> conv ------------.
        |                                               | doubled                 | doubled
        '--> stem -> down -> up -> + skip of the stem -> + -> conv -------------> + -> 1x1x1 -> 7 classes

    Random weights are He-normal with zero biases, as in the published training. GroupNorm normalises over the whole
    volume, so the result depends on the amount of background, and the input must not be cut into tiles.

    Parameters
    ----------
    dropout : float
        Share of values dropped in every block in training; 0.05 in the published training.
    classes : int
        Number of classes; the published weights have 7.

    References
    ----------
    Svanera, M. et al. (2024), Medical Image Analysis 93:103090, doi:10.1016/j.media.2024.103090, section 2.

    Examples
    --------
    >>> import torch
    >>> network = LodBrain2024().eval()
    >>> network(torch.zeros(1, 1, 16, 16, 8)).shape
    torch.Size([1, 7, 16, 16, 8])
    """

    def __init__(self, *, dropout: float = 0.05, classes: int = CLASSES) -> None:
        super().__init__()
        self.coarse = Coarse(dropout=dropout)
        self.stem = nn.Conv3d(1, 32, 3, padding=1)
        self.down = Block(32, 32, nn.Conv3d, dropout=dropout)
        self.up = Block(128, 8, nn.ConvTranspose3d, dropout=dropout)
        self.out = nn.Conv3d(32, 32, 3, padding=1)
        self.head = nn.Conv3d(32, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                # Not the normal variant: on the device "meta" torch imports its decompositions for it, over a second.
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 7, X, Y, Z) of z-scored volumes (B, 1, X, Y, Z) in LIA order; sides are multiples of 8."""
        if x.ndim != 5 or x.shape[1] != 1 or any(side % MULTIPLE for side in x.shape[2:]):
            raise ValueError(f"x must be (B, 1, X, Y, Z) with sides that are multiples of 8, got {tuple(x.shape)}")
        coarse = self.coarse(x)
        skip = self.stem(x)
        features = self.up(self.down(skip)) + skip + doubled(coarse)
        logits: Tensor = self.head(self.out(features) + doubled(self.coarse.out(coarse)))
        return logits


def doubled(x: Tensor) -> Tensor:
    """Return `x` (B, C, ...) with every voxel repeated twice along each axis."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
