"""MeshNet: dilated convolutions at full resolution, without pooling.

References
----------
Fedorov et al. 2017, End-to-end learning of brain tissue segmentation from imperfect labeling, arXiv:1612.00940.
"""

from __future__ import annotations

import torch
from torch import nn

#: Dilation of each 3x3x3 convolution: the receptive radius is their sum, 46 voxels.
DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)


class MeshNet(nn.Module):
    """Stack of dilated convolutions with BatchNorm and ReLU, and a final 1x1x1 convolution.

    Parameters
    ----------
    channels : int
        Channels of every layer; brainchop's networks have 18.
    dropout : float
        Share of channels dropped in every layer in training.
    """

    def __init__(self, *, classes: int, channels: int = 18, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for dilation in DILATIONS:
            layers += [
                nn.Conv3d(before, channels, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm3d(channels),
                nn.ReLU(inplace=True),
                nn.Dropout3d(dropout),
            ]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv3d(channels, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes, X, Y, Z) of images (B, 1, X, Y, Z)."""
        logits: torch.Tensor = self.layers(x)
        return logits
