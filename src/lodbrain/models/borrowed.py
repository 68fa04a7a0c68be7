"""Architectures from MONAI for comparison, at sizes similar to the ladder's.

References
----------
SegResNet: Myronenko 2018, arXiv:1810.11654. DynUNet: Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z.
"""

from __future__ import annotations

from typing import Any

from torch import nn


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
