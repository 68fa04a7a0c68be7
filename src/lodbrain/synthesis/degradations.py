"""Degradations of a finished scan: one function per fault; a strength of 0 leaves the scan unchanged.

Unlike the effects in `lodbrain.synthesis.steps`, which are sampled while a scan is generated from a label map, these
act on an existing scan. Voxels keep their positions, or the label map is transformed alike, so that segmentations of
the result can be evaluated.

References
----------
Motion: Shaw et al. 2019, k-space motion artefacts for training, proceedings.mlr.press/v102/shaw19a.html. Noise:
Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.images.black_background import from_outside
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.steps.blur import FWHM_PER_SIGMA, gaussian_blur

#: Distance of the bias field's control points in mm, as of a head coil's field.
BIAS_LATTICE_MM = 60.0
#: Number of positions in which the head rests during a scan with motion.
POSITIONS = 4
#: Share of the middle third of k-space acquired before the head moves: it determines where the head appears.
STILL_SHARE = 0.17
#: Share of all voxels brighter than the bright level.
BRIGHT_SHARE = 0.01
#: Voxels up to this share of the bright level are air if they are connected to the edge of the scan.
AIR_SHARE = 0.03
_MOST_VALUES = 2_000_000
#: 2^32 over the golden ratio, rounded to an odd number: its multiples are far apart.
SPREAD = 0x9E3779B1


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan (X, Y, Z) float32 in RAS order and its labels, uint8, on the same grid."""

    image: torch.Tensor
    labels: torch.Tensor
    spacing_mm: tuple[float, float, float]

    def with_image(self, image: torch.Tensor) -> LabelledScan:
        """Return a pair of another image and the same labels."""
        return LabelledScan(image, self.labels, self.spacing_mm)

    @property
    def grid(self) -> Grid:
        """Grid of the voxels, with its origin at the centre of the volume."""
        x, y, z = self.image.shape
        a, b, c = (-n * v / 2 for n, v in zip((x, y, z), self.spacing_mm, strict=True))
        return Grid((x, y, z), self.spacing_mm, (a, b, c))


def bright_level(image: torch.Tensor) -> float:
    """Return the 99th percentile of intensity: in a T1w head about that of white matter or fat."""
    values = image.reshape(-1)
    values = values[:: max(1, values.numel() // _MOST_VALUES)]
    return float(torch.quantile(values, 1 - BRIGHT_SHARE))


def bias_field(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Multiply with exp(f), where f is a smooth field; the strength is its standard deviation over the scan."""
    extent = max(n * v for n, v in zip(pair.image.shape, pair.spacing_mm, strict=True))
    field = SmoothField(random_control(1, BIAS_LATTICE_MM, extent, generator), BIAS_LATTICE_MM).on(pair.grid)[0]
    field = (field - field.mean()) / field.std()
    return pair.with_image(pair.image * (strength * field).exp())


def noise(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Add Rician noise; the strength is its standard deviation as a share of the bright level."""
    sigma = strength * bright_level(pair.image)
    real, imaginary = (sigma * torch.randn(pair.image.shape, generator=generator) for _ in range(2))
    return pair.with_image(torch.hypot(pair.image + real, imaginary))


def resolution(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Average over voxels whose sides are larger by the strength in mm, and interpolate to the grid."""
    return pair.with_image(_averaged(pair, tuple(v + strength for v in pair.spacing_mm)))


def thick_slices(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Average over slices along the body's axis that are thicker by the strength in mm, and interpolate to the grid."""
    x, y, z = pair.spacing_mm
    return pair.with_image(_averaged(pair, (x, y, z + strength)))


def motion(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Acquire outer lines of k-space from other head positions, up to the strength away in mm and in degrees."""
    spectrum = _spectrum(pair.image)
    n = pair.image.shape[1]
    still = round(STILL_SHARE * n / 2)
    # lines are ordered from the centre outwards; each position has an equal share of those on either side
    order = torch.fft.fftfreq(n).abs().argsort(stable=True)[2 * still :]
    for lines in order.chunk(POSITIONS):
        turn, shift = ((2 * torch.rand(3, generator=generator) - 1) * strength for _ in range(2))
        moved = _turned(pair.image, pair.spacing_mm, torch.matrix_exp(_cross(torch.deg2rad(turn))), shift)
        spectrum[:, lines] = _spectrum(moved)[:, lines]
    return pair.with_image(torch.fft.irfftn(spectrum, s=tuple(pair.image.shape), dim=(0, 1, 2)).clamp_(min=0))


def field_of_view(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Cut a slab as thick as the strength in mm off the upper end of the head, in image and labels."""
    head = (pair.image > 0.1 * bright_level(pair.image)).float().mean((0, 1)) > 0.02
    top = int(head.nonzero().max()) + 1 if head.any() else pair.image.shape[2]
    kept = min(pair.image.shape[2], max(1, top - round(strength / pair.spacing_mm[2])))
    return LabelledScan(pair.image[..., :kept].contiguous(), pair.labels[..., :kept].contiguous(), pair.spacing_mm)


def rotation(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Rotate the head by the strength in degrees around a random axis, in image and labels."""
    axis = torch.randn(3, generator=generator)
    matrix = torch.matrix_exp(_cross(axis / axis.norm() * math.radians(strength)))
    labels = _turned(pair.labels.float(), pair.spacing_mm, matrix, torch.zeros(3), mode="nearest")
    image = _turned(pair.image, pair.spacing_mm, matrix, torch.zeros(3))
    return LabelledScan(image, labels.to(pair.labels.dtype), pair.spacing_mm)


def contrast(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Raise to the power of 2 ** -strength with the bright level fixed, which reduces contrast between tissues."""
    level = bright_level(pair.image)
    if level <= 0:
        return pair
    unit = pair.image / level
    return pair.with_image(torch.where(unit > 0, unit.clamp(min=0) ** 2.0**-strength, unit) * level)


def offset(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Subtract the strength in bright levels, so that voxels without signal are no longer 0."""
    return pair.with_image(pair.image - strength * bright_level(pair.image))


def background(pair: LabelledScan, strength: float, generator: torch.Generator) -> LabelledScan:
    """Fill the air with a constant: the strength in bright levels, negative with a probability of one half."""
    level = bright_level(pair.image)
    air = from_outside((pair.image <= AIR_SHARE * level).numpy())
    sign = 1 if float(torch.rand((), generator=generator)) < 0.5 else -1
    return pair.with_image(torch.where(torch.from_numpy(air), sign * strength * level, pair.image))


@dataclass(frozen=True)
class Degradation:
    """A degradation and the strengths to test, from mild to clinically unacceptable."""

    name: str
    unit: str
    steps: tuple[float, ...]
    function: Callable[[LabelledScan, float, torch.Generator], LabelledScan]

    def apply(self, pair: LabelledScan, strength: float, *, seed: int = 0) -> LabelledScan:
        """Return the degraded pair; of strength 0 the pair itself.

        Parameters
        ----------
        strength : float
            In `unit`, not negative.
        seed : int
            Seed; the random numbers are the same for every strength.

        Raises
        ------
        ValueError
            If the strength is negative or not a number.
        """
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength must be 0 or more, got {strength}")
        if strength == 0:
            return pair
        # torch uses 32 bits of a seed; the odd factor spreads small numbers over them
        mixed = (zlib.crc32(self.name.encode()) + seed * SPREAD) % 2**32
        generator = torch.Generator().manual_seed(mixed)
        return self.function(pair, strength, generator)


DEGRADATIONS: dict[str, Degradation] = {
    entry.name: entry
    for entry in (
        Degradation("bias field", "SD of the log field", (0.2, 0.4, 0.7, 1.0), bias_field),
        Degradation("noise", "SD, share of the bright level", (0.05, 0.1, 0.2, 0.4), noise),
        Degradation("resolution", "mm added to the voxel side", (1.0, 2.0, 3.0, 5.0), resolution),
        Degradation("thick slices", "mm added to the slice", (2.0, 4.0, 7.0, 11.0), thick_slices),
        Degradation("motion", "mm and degrees at most", (1.0, 2.0, 4.0, 8.0), motion),
        Degradation("field of view", "mm cut off the top", (20.0, 40.0, 60.0, 80.0), field_of_view),
        Degradation("rotation", "degrees", (15.0, 30.0, 60.0, 90.0), rotation),
        Degradation("contrast", "-log2 of gamma", (0.5, 1.0, 2.0, 3.0), contrast),
        Degradation("offset", "bright levels subtracted", (0.5, 1.0, 4.0, 16.0), offset),
        Degradation("background", "bright levels in the air", (0.5, 1.0, 4.0, 16.0), background),
    )
}


def _averaged(pair: LabelledScan, voxel_mm: tuple[float, ...]) -> torch.Tensor:
    """Return the image averaged over larger voxels and interpolated to its grid."""
    shape = pair.image.shape
    coarse = [
        n if wanted == v else max(2, round(n * v / wanted))
        for n, v, wanted in zip(shape, pair.spacing_mm, voxel_mm, strict=True)
    ]
    # for slightly larger voxels the mean of whole voxels would alias
    sigma = [0.0 if c == n else 0.5 * n / c / FWHM_PER_SIGMA for n, c in zip(shape, coarse, strict=True)]
    image = gaussian_blur(pair.image, (sigma[0], sigma[1], sigma[2]))
    small = F.adaptive_avg_pool3d(image[None, None], (coarse[0], coarse[1], coarse[2]))
    back: torch.Tensor = F.interpolate(small, size=tuple(shape), mode="trilinear", align_corners=False)[0, 0]
    return back


def _spectrum(image: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z // 2 + 1) complex64: k-space of a real image; phase-encoding lines are along the second axis."""
    spectrum: torch.Tensor = torch.fft.rfftn(image, dim=(0, 1, 2))
    return spectrum


def _cross(axis: torch.Tensor) -> torch.Tensor:
    """Return the matrix whose exponential rotates around an axis by its length in radians."""
    x, y, z = axis.tolist()
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _turned(
    image: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    matrix: torch.Tensor,
    shift_mm: torch.Tensor,
    *,
    mode: str = "bilinear",
) -> torch.Tensor:
    """Return the image rotated around its centre and shifted, on its own grid; voxels from outside are 0."""
    half = torch.tensor([n * v / 2 for n, v in zip(image.shape, spacing_mm, strict=True)])
    # grid_sample uses coordinates from -1 to 1, with the last axis first
    theta = (matrix.T * half[None, :]) / half[:, None]
    move = -(matrix.T @ shift_mm) / half
    theta = torch.cat([theta.flip(0, 1), move.flip(0)[:, None]], 1)
    grid = F.affine_grid(theta[None], [1, 1, *image.shape], align_corners=False)
    turned = F.grid_sample(image[None, None], grid, mode=mode, padding_mode="zeros", align_corners=False)
    moved: torch.Tensor = turned[0, 0]
    return moved
