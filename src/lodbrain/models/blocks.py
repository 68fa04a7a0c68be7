"""Building blocks of the ladder: convolutions without activation statistics, whose output does not depend on tiles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATION_SLOPE = 0.1
#: sqrt(2 / (1 + slope^2)): keeps the mean square of unit normal input through the leaky ReLU.
ACTIVATION_GAIN: float = (2 / (1 + ACTIVATION_SLOPE**2)) ** 0.5


class StandardConv(nn.Conv3d):
    """Convolution with standardised kernels: zero mean and unit norm, times a learned gain.

    It stabilises training like a normalisation of activations, but the output of a voxel depends only on its receptive
    field, so tiled and whole-volume results agree.

    Parameters
    ----------
    stride : int
        Volumes are padded to keep their shape at a stride of 1, and not padded otherwise.

    References
    ----------
    Brock et al. 2021, Characterizing signal propagation to close the performance gap in unnormalized ResNets,
    arXiv:2101.08692.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, *, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1, 1))
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def kernel(self) -> torch.Tensor:
        """Return the standardised weights (outputs, inputs, k, k, k)."""
        fan_in = self.weight[0].numel()
        mean = self.weight.mean((1, 2, 3, 4), keepdim=True)
        var = self.weight.var((1, 2, 3, 4), keepdim=True, unbiased=False)
        return (self.weight - mean) * torch.rsqrt(var * fan_in + 1e-6) * self.gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X', Y', Z')."""
        return F.conv3d(x, self.kernel(), self.bias, self.stride, self.padding)


def activate(x: torch.Tensor) -> torch.Tensor:
    """Return the leaky ReLU of a tensor, scaled to keep the mean square; in place if gradients are disabled."""
    if torch.is_grad_enabled():
        return F.leaky_relu(x, ACTIVATION_SLOPE) * ACTIVATION_GAIN
    return F.leaky_relu_(x, ACTIVATION_SLOPE).mul_(ACTIVATION_GAIN)


class Residual(nn.Module):
    """Residual block x + strength * conv(act(conv(act(x)))), initialised near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = StandardConv(channels, channels)
        self.second = StandardConv(channels, channels)
        self.strength = nn.Parameter(torch.tensor(0.2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, X, Y, Z) to the same shape."""
        # Without gradients `activate` works in place, but x is needed for the sum.
        inner = self.first(activate(x if torch.is_grad_enabled() else x.clone()))
        outer: torch.Tensor = self.second(activate(inner))
        return x + self.strength * outer


class PlainConv(nn.Module):
    """Convolution and activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = StandardConv(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X, Y, Z)."""
        return activate(self.conv(x))


def double(x: torch.Tensor, shape: tuple[int, int, int] | torch.Size) -> torch.Tensor:
    """Upsample by exactly 2 with trilinear interpolation.

    Parameters
    ----------
    x : (B, C, X, Y, Z) tensor
    shape : tuple of 3 int
        Shape of the result, at most twice that of `x`; voxels beyond it are cropped.

    Returns
    -------
    (B, C, *shape) tensor
        Voxel i lies in voxel i // 2 of `x`.
    """
    # Channels last: three to four times as fast on the CPU.
    x = x.contiguous(memory_format=torch.channels_last_3d)
    up = F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
    return up[..., : shape[0], : shape[1], : shape[2]]


def space_to_depth(x: torch.Tensor, edge: int) -> torch.Tensor:
    """Move the voxels of each block of edge^3 to channels; `depth_to_space` is the inverse.

    Parameters
    ----------
    x : (B, C, X, Y, Z) tensor
    edge : int
        Edge of a block; X, Y and Z are multiples of it.

    Returns
    -------
    (B, C * edge^3, X / edge, Y / edge, Z / edge) tensor
        Channel c * edge^3 + (i * edge + j) * edge + k holds the voxels (i, j, k) of the blocks.
    """
    batch, channels, *shape = x.shape
    a, b, c = (n // edge for n in shape)
    cut = x.reshape(batch, channels, a, edge, b, edge, c, edge)
    return cut.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * edge**3, a, b, c)


def depth_to_space(x: torch.Tensor, edge: int) -> torch.Tensor:
    """Move channels to voxels of blocks: (B, C * edge^3, X, Y, Z) -> (B, C, X * edge, Y * edge, Z * edge)."""
    batch, channels, a, b, c = x.shape
    return in_blocks(x, edge).reshape(batch, channels // edge**3, a * edge, b * edge, c * edge)


def in_blocks(x: torch.Tensor, edge: int) -> torch.Tensor:
    """Return `depth_to_space` as a view: (B, C * edge^3, X, Y, Z) -> (B, C, X, edge, Y, edge, Z, edge)."""
    batch, channels, a, b, c = x.shape
    cut = x.view(batch, channels // edge**3, edge, edge, edge, a, b, c)
    return cut.permute(0, 1, 5, 2, 6, 3, 7, 4)
