"""Blur by the point spread function of the scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))

#: A Gaussian of a smaller standard deviation (in voxels) is left out: its kernel is 0.0000 1.0000 0.0000.
_LEAST_SIGMA = 0.15


@dataclass(frozen=True)
class Blur:
    """Gaussian point spread function of full width at half maximum `fwhm_vox`, in voxels of the scan.

    It stands for all that limits the resolution: the extent of k-space, filters, signal decay during the readout.

    References
    ----------
    Billot et al. 2023, doi:10.1016/j.media.2023.102789 (blur in the simulation of low resolution).
    """

    fwhm_vox: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the blurred image."""
        sigma = self.fwhm_vox / FWHM_PER_SIGMA
        return gaussian_blur(image, (sigma, sigma, sigma), coarseness=view.coarseness)


@dataclass(frozen=True)
class RandomBlur:
    """Blur with a full width at half maximum that is uniform in 0 to `fwhm_vox` voxels.

    Examples
    --------
    >>> 0 <= RandomBlur(fwhm_vox=1.5).draw(Stream(1, "blur")).fwhm_vox <= 1.5
    True
    """

    fwhm_vox: float = 1.5

    def draw(self, stream: Stream) -> Blur:
        """Sample the blur of one scan."""
        return Blur(stream.uniform(0.0, self.fwhm_vox))


def gaussian_blur(image: torch.Tensor, sigma_vox: tuple[float, float, float], *, coarseness: int = 1) -> torch.Tensor:
    """Return the image convolved with a Gaussian; axes with a sigma under 0.15 voxel are not blurred.

    Parameters
    ----------
    image : (..., X, Y, Z) float32 tensor
    sigma_vox : tuple of 3 float
        Standard deviations, in voxels of the scan.
    coarseness : int
        Voxel side of the image in voxels of the scan. If the scan's voxels are equal within each voxel of the
        image, the result is the mean of the blurred scan over each voxel.
    """
    for axis, sigma in enumerate(sigma_vox, -3):
        if sigma < _LEAST_SIGMA:
            continue
        kernel = _pooled(_gaussian_kernel(sigma), coarseness)
        radius = len(kernel) // 2
        # Weighted sum of shifted views: three to seven passes, several times faster than a 3D convolution of one
        # channel.
        n = image.shape[axis]
        padded = torch.cat(
            [image.narrow(axis, 0, 1)] * radius + [image] + [image.narrow(axis, n - 1, 1)] * radius, axis
        )
        out = torch.zeros_like(image)
        for shift, weight in enumerate(kernel.tolist()):
            out.add_(padded.narrow(axis, shift, n), alpha=weight)
        image = out
    return image


def _gaussian_kernel(sigma_vox: float) -> torch.Tensor:
    """(2 R + 1,) float32: weights of the voxels up to R = 2.5 sigma away; they sum to 1."""
    radius = max(1, math.ceil(2.5 * sigma_vox))
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(at**2) / (2 * sigma_vox**2))
    return kernel / kernel.sum()


def _pooled(kernel: torch.Tensor, coarseness: int) -> torch.Tensor:
    """(2 S + 1,) float32: the kernel between voxels that are `coarseness` times as long.

    A weight at offset k shifts a block of c voxels by k, so that the share 1 - |k - c j| / c of the block, if positive,
    falls into the block at distance j.
    """
    radius = len(kernel) // 2
    blocks = -(-radius // coarseness)
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    centres = torch.arange(-blocks, blocks + 1, dtype=torch.float32) * coarseness
    overlap = (1 - (at - centres[:, None]).abs() / coarseness).clamp_(min=0)
    pooled: torch.Tensor = (overlap * kernel).sum(1)
    return pooled
