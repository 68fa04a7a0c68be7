"""Residual U-Net with InstanceNorm, a common baseline of 3D segmentation.

References
----------
Çiçek et al. 2016, 3D U-Net, doi:10.1007/978-3-319-46723-8_49; Zhang, Liu, Wang 2018, Road extraction by deep residual
U-Net, doi:10.1109/LGRS.2018.2802944.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Residual block of two convolutions with InstanceNorm; a stride of 2 halves the sides.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.InstanceNorm3d(outputs, affine=True) for _ in range(2))
        self.activate = nn.LeakyReLU(0.01, inplace=True)
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv3d(inputs, outputs, stride, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X / stride, ...)."""
        inner = self.activate(self.norms[0](self.first(x)))
        outer: torch.Tensor = self.activate(self.norms[1](self.second(inner)) + self.short(x))
        return outer


class ResidualUNet(nn.Module):
    """U-Net of residual blocks, with upsampling by transposed convolutions and concatenated skip connections.

    Parameters
    ----------
    classes : int
    channels : sequence of int
        Channels at full resolution and after each downsampling.
    """

    def __init__(self, *, classes: int, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.entry = ResidualBlock(1, channels[0])
        self.down = nn.ModuleList(ResidualBlock(a, b, stride=2) for a, b in pairwise(channels))
        self.doubling = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.up = nn.ModuleList(ResidualBlock(2 * a, a) for a in channels[:-1])
        self.head = nn.Conv3d(channels[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes, X, Y, Z) of images (B, 1, X, Y, Z), whose sides must be even at every halving."""
        skips = [self.entry(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for double, up in zip(reversed(self.doubling), reversed(self.up), strict=True):
            x = up(torch.cat([double(x), skips.pop()], 1))
        logits: torch.Tensor = self.head(x)
        return logits
