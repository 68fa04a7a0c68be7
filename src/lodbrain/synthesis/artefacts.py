"""What a scanner and its processing do to a scan: bias field, blur, noise, gamma, thick slices, stripping, defacing.

Every effect is a frozen dataclass that holds its drawn parameters; applying it twice gives the same scan. A parameter
of zero changes nothing. Images are (X, Y, Z) float32 tensors on a `Grid`, whose voxels may be larger than those of the
scan (`coarseness`), so that one plan can be rendered at every level of the ladder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.synthesis.fields import Grid, SmoothField

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, eq=False)
class Bias:
    """Multiplicative field exp(f): receive and transmit inhomogeneity.

    Attributes
    ----------
    log_field : SmoothField
        f, of one channel.
    centre_gain : float
        Added to f at the origin of scanner space, as at 7 T and above.
    centre_width_mm : float
        Standard deviation of that bump.
    drop_outs : tuple of (x_mm, y_mm, z_mm, width_mm, depth)
        Places where signal is lost, as at the temporal lobes and the cerebellum at 7 T.
    """

    log_field: SmoothField
    centre_gain: float = 0.0
    centre_width_mm: float = 60.0
    drop_outs: tuple[tuple[float, float, float, float, float], ...] = ()

    def apply(self, image: torch.Tensor, grid: Grid) -> torch.Tensor:
        """The image multiplied with the field."""
        log_bias = self.log_field.on(grid)[0]
        if self.centre_gain or self.drop_outs:
            x, y, z = grid.axes_mm(image.device)
            for cx, cy, cz, width, depth in ((0.0, 0.0, 0.0, self.centre_width_mm, -self.centre_gain), *self.drop_outs):
                bumps = [torch.exp(-((a - c) ** 2) / (2 * width**2)) for a, c in ((x, cx), (y, cy), (z, cz))]
                log_bias = (
                    log_bias - depth * bumps[0][:, None, None] * bumps[1][None, :, None] * bumps[2][None, None, :]
                )
        return image * log_bias.exp()


def gaussian_blur(image: torch.Tensor, sigma_vox: tuple[float, float, float]) -> torch.Tensor:
    """The (X, Y, Z) image convolved with a Gaussian; axes with a sigma under 0.15 voxel are left alone."""
    for axis, sigma in enumerate(sigma_vox):
        if sigma < 0.15:
            continue
        radius = max(1, math.ceil(2.5 * sigma))
        at = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
        kernel = torch.exp(-(at**2) / (2 * sigma**2))
        kernel = kernel / kernel.sum()
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


@dataclass(frozen=True)
class Acquisition:
    """Blur, thick slices and noise of one scan.

    Attributes
    ----------
    blur_fwhm_vox : float
        Full width at half maximum, in voxels of the scan.
    slice_axis, slice_mm : int, float
        Axis and thickness of thick slices; 0 mm for none.
    noise : float
        Standard deviation, in the image's units, at the scan's voxel size.
    rician : bool
        Magnitude of complex noise instead of additive noise.
    """

    blur_fwhm_vox: float = 0.0
    slice_axis: int = 2
    slice_mm: float = 0.0
    noise: float = 0.0
    rician: bool = False

    def apply(
        self, image: torch.Tensor, grid: Grid, generator: torch.Generator, *, coarseness: int = 1
    ) -> torch.Tensor:
        """The image as acquired on a grid whose voxels are `coarseness` times those of the scan."""
        sigma = self.blur_fwhm_vox / FWHM_PER_SIGMA / coarseness
        image = gaussian_blur(image, (sigma, sigma, sigma))
        thickness = self.slice_mm / grid.spacing_mm[self.slice_axis]
        if thickness > 1.2:
            size = list(image.shape)
            thick = list(size)
            thick[self.slice_axis] = max(2, round(size[self.slice_axis] / thickness))
            slabs = F.adaptive_avg_pool3d(image[None, None], (thick[0], thick[1], thick[2]))
            image = F.interpolate(slabs, size=size, mode="trilinear", align_corners=False)[0, 0]
        sigma = self.noise / coarseness**1.5  # averaging n voxels divides the noise by sqrt(n)
        if sigma > 0:
            noise = torch.randn(image.shape, generator=generator).to(image.device)
            if self.rician:
                other = torch.randn(image.shape, generator=generator).to(image.device)
                return torch.hypot(image + sigma * noise, sigma * other)
            image = image + sigma * noise
        return image


@dataclass(frozen=True, eq=False)
class Stripping:
    """A skull-stripped scan: voxels further than `margin_mm` plus an error field from the brain are zero.

    The brain itself is kept whatever the margin.

    Attributes
    ----------
    margin_mm : float
        What is left around the brain.
    error : SmoothField
        Of one channel.
    error_mm : float
        Its strength.
    """

    margin_mm: float
    error: SmoothField
    error_mm: float

    def mask(self, distance_mm: torch.Tensor, grid: Grid) -> torch.Tensor:
        """(X, Y, Z) bool: what is kept."""
        return distance_mm <= (self.margin_mm + self.error_mm * self.error.on(grid)[0]).clamp(min=0.0)


@dataclass(frozen=True)
class Defacing:
    """Voxels beyond a plane are zero, except near the brain.

    Attributes
    ----------
    normal : tuple of 3 float
        Of the plane, in scanner space, towards the face.
    offset_mm : float
        Of the plane along the normal, in units of its length.
    keep_mm : float
        Distance to the brain up to which nothing is removed.
    """

    normal: tuple[float, float, float]
    offset_mm: float
    keep_mm: float = 6.0

    def mask(self, distance_mm: torch.Tensor, grid: Grid) -> torch.Tensor:
        """(X, Y, Z) bool: what is kept."""
        x, y, z = grid.axes_mm(distance_mm.device)
        a, b, c = self.normal
        height = a * x[:, None, None] + b * y[None, :, None] + c * z[None, None, :]
        return (height < self.offset_mm) | (distance_mm < self.keep_mm)


@dataclass(frozen=True)
class Tone:
    """Gamma and clipping of the finished scan, both relative to white matter.

    Attributes
    ----------
    gamma : float
        Exponent; 1 for none.
    clip : float
        Largest value in units of white matter; 0 for none.
    """

    gamma: float = 1.0
    clip: float = 0.0

    def apply(self, image: torch.Tensor, white_matter: float) -> torch.Tensor:
        """The image with its grey values bent; negative values are left as they are."""
        if self.clip > 0:
            image = image.clamp(max=self.clip * white_matter)
        if self.gamma != 1.0:
            unit = image / max(white_matter, 1.0)
            image = torch.where(unit > 0, unit.clamp(min=1e-6) ** self.gamma, unit) * max(white_matter, 1.0)
        return image
