"""Networks that the ladder is compared with, at similar sizes: MeshNet, and MONAI's SegResNet and DynUNet.

References
----------
MeshNet: Fedorov et al. 2017, End-to-end learning of brain tissue segmentation from imperfect labeling,
arXiv:1612.00940.
SegResNet: Myronenko 2018, arXiv:1810.11654. DynUNet: Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z.
"""

from __future__ import annotations

from typing import Any

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


def segresnet(*, classes: int, channels: int = 16, **options: Any) -> nn.Module:
    """Return MONAI's SegResNet; `channels` doubles with every downsampling, `options` are passed on."""
    from monai.networks.nets.segresnet import SegResNet

    given = {"blocks_down": (1, 1, 1, 1), "blocks_up": (1, 1, 1), **options}
    network: nn.Module = SegResNet(spatial_dims=3, in_channels=1, out_channels=classes, init_filters=channels, **given)
    return network


def dynunet(*, classes: int, channels: tuple[int, ...] = (16, 32, 64, 96), **options: Any) -> nn.Module:
    """Return MONAI's DynUNet (nnU-Net's network) with residual blocks; `channels` has one entry per resolution."""
    from monai.networks.nets.dynunet import DynUNet

    strides = [1] + [2] * (len(channels) - 1)
    given = {"res_block": True, "deep_supervision": False, **options}
    network: nn.Module = DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
        kernel_size=[3] * len(channels),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=list(channels),
        **given,
    )
    return network
