"""A finished scan made worse by a known amount: one function a fault, each with a strength of which 0 changes nothing.

Unlike the effects in `lodbrain.synthesis.steps`, which are drawn while a scan is made from a label map, these take
a scan as it is. The voxels stay where they are, or the label map moves along, so that the result can be scored.

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

from lodbrain.images.background import from_outside
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.steps.blur import FWHM_PER_SIGMA, gaussian_blur

#: Control points of the bias field are this far apart: that of a head coil.
BIAS_LATTICE_MM = 60.0
#: The head lies still this often during a scan with motion, in as many positions.
POSITIONS = 4
#: Half of the middle third of k-space is acquired before the head moves: it decides where the head is seen.
STILL_SHARE = 0.17
#: The share of all voxels that is brighter than the level which counts as bright.
BRIGHT_SHARE = 0.01
#: What is no brighter, as a share of the bright level, and reaches the edge of the scan is air.
AIR_SHARE = 0.03
_MOST_VALUES = 2_000_000
#: 2^32 over the golden ratio, made odd: multiples of it are far apart.
SPREAD = 0x9E3779B1


@dataclass(frozen=True, eq=False)
class Pair:
    """A scan and, on the same grid, its labels.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
        In RAS order.
    labels : (X, Y, Z) uint8 tensor
    spacing_mm : tuple of 3 float
    """

    image: torch.Tensor
    labels: torch.Tensor
    spacing_mm: tuple[float, float, float]

    def with_image(self, image: torch.Tensor) -> Pair:
        """The same labels under another image."""
        return Pair(image, self.labels, self.spacing_mm)

    @property
    def grid(self) -> Grid:
        """The voxels in a space whose origin is the middle of the volume."""
        x, y, z = self.image.shape
        a, b, c = (-n * v / 2 for n, v in zip((x, y, z), self.spacing_mm, strict=True))
        return Grid((x, y, z), self.spacing_mm, (a, b, c))


def bright_level(image: torch.Tensor) -> float:
    """Return the value that one voxel in a hundred exceeds: about that of white matter or fat in a T1w head."""
    values = image.reshape(-1)
    values = values[:: max(1, values.numel() // _MOST_VALUES)]
    return float(torch.quantile(values, 1 - BRIGHT_SHARE))


def bias_field(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Multiply with exp(f), f a smooth field whose standard deviation over the scan is the strength."""
    extent = max(n * v for n, v in zip(pair.image.shape, pair.spacing_mm, strict=True))
    field = SmoothField(random_control(1, BIAS_LATTICE_MM, extent, generator), BIAS_LATTICE_MM).on(pair.grid)[0]
    field = (field - field.mean()) / field.std()
    return pair.with_image(pair.image * (strength * field).exp())


def noise(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Add Rician noise; the strength is its standard deviation as a share of the bright level."""
    sigma = strength * bright_level(pair.image)
    real, imaginary = (sigma * torch.randn(pair.image.shape, generator=generator) for _ in range(2))
    return pair.with_image(torch.hypot(pair.image + real, imaginary))


def resolution(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Blur to voxels that are larger by so many mm, and bring back to the grid by interpolation."""
    return pair.with_image(_averaged(pair, tuple(v + strength for v in pair.spacing_mm)))


def thick_slices(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Average over slices along the body's axis that are thicker by so many mm, and bring back to the grid."""
    x, y, z = pair.spacing_mm
    return pair.with_image(_averaged(pair, (x, y, z + strength)))


def motion(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Let the head lie in other places, up to so many mm and degrees away, while outer lines of k-space are taken."""
    spectrum = _spectrum(pair.image)
    n = pair.image.shape[1]
    still = round(STILL_SHARE * n / 2)
    # lines are taken from the middle outwards; each position has an equal share of those on either side
    order = torch.fft.fftfreq(n).abs().argsort(stable=True)[2 * still :]
    for lines in order.chunk(POSITIONS):
        turn, shift = ((2 * torch.rand(3, generator=generator) - 1) * strength for _ in range(2))
        moved = _turned(pair.image, pair.spacing_mm, _rotation(*torch.deg2rad(turn).tolist()), shift)
        spectrum[:, lines] = _spectrum(moved)[:, lines]
    return pair.with_image(torch.fft.irfftn(spectrum, s=tuple(pair.image.shape), dim=(0, 1, 2)).clamp_(min=0))


def field_of_view(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Cut so many mm off the upper end of the head, image and labels."""
    head = (pair.image > 0.1 * bright_level(pair.image)).float().mean((0, 1)) > 0.02
    top = int(head.nonzero().max()) + 1 if head.any() else pair.image.shape[2]
    kept = min(pair.image.shape[2], max(1, top - round(strength / pair.spacing_mm[2])))
    return Pair(pair.image[..., :kept].contiguous(), pair.labels[..., :kept].contiguous(), pair.spacing_mm)


def rotation(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Turn the head by so many degrees, image and labels, around an axis that is drawn."""
    axis = torch.randn(3, generator=generator)
    matrix = torch.matrix_exp(_cross(axis / axis.norm() * math.radians(strength)))
    labels = _turned(pair.labels.float(), pair.spacing_mm, matrix, torch.zeros(3), mode="nearest")
    image = _turned(pair.image, pair.spacing_mm, matrix, torch.zeros(3))
    return Pair(image, labels.to(pair.labels.dtype), pair.spacing_mm)


def contrast(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Raise to the power of 2 ** -strength, the bright level staying where it is: tissues become alike."""
    level = bright_level(pair.image)
    if level <= 0:
        return pair
    unit = pair.image / level
    return pair.with_image(torch.where(unit > 0, unit.clamp(min=0) ** 2.0**-strength, unit) * level)


def offset(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Subtract so many bright levels: no signal is no longer 0."""
    return pair.with_image(pair.image - strength * bright_level(pair.image))


def background(pair: Pair, strength: float, generator: torch.Generator) -> Pair:
    """Mask the air and fill it with so many bright levels, half of the time with as many below 0."""
    level = bright_level(pair.image)
    air = from_outside((pair.image <= AIR_SHARE * level).numpy())
    sign = 1 if float(torch.rand((), generator=generator)) < 0.5 else -1
    return pair.with_image(torch.where(torch.from_numpy(air), sign * strength * level, pair.image))


@dataclass(frozen=True)
class Degradation:
    """A fault with its steps.

    Attributes
    ----------
    name : str
    unit : str
        Of the strength.
    steps : tuple of float
        Strengths to try, from mild to what no reader would accept.
    function : callable
    """

    name: str
    unit: str
    steps: tuple[float, ...]
    function: Callable[[Pair, float, torch.Generator], Pair]

    def apply(self, pair: Pair, strength: float, *, seed: int = 0) -> Pair:
        """The pair made worse; of strength 0 the pair itself.

        Parameters
        ----------
        pair : Pair
        strength : float
            In `unit`, not negative.
        seed : int
            What is drawn is the same for every strength.

        Raises
        ------
        ValueError
            If the strength is negative or no number.
        """
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength must be 0 or more, got {strength}")
        if strength == 0:
            return pair
        # torch keeps 32 bits of a seed; the odd factor spreads small numbers over them
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


def _averaged(pair: Pair, voxel_mm: tuple[float, ...]) -> torch.Tensor:
    """The image as seen by larger voxels: averaged over each, and interpolated back."""
    shape = pair.image.shape
    coarse = [
        n if wanted == v else max(2, round(n * v / wanted))
        for n, v, wanted in zip(shape, pair.spacing_mm, voxel_mm, strict=True)
    ]
    # where voxels grow by little the mean of whole voxels would alias
    sigma = [0.0 if c == n else 0.5 * n / c / FWHM_PER_SIGMA for n, c in zip(shape, coarse, strict=True)]
    image = gaussian_blur(pair.image, (sigma[0], sigma[1], sigma[2]))
    small = F.adaptive_avg_pool3d(image[None, None], (coarse[0], coarse[1], coarse[2]))
    back: torch.Tensor = F.interpolate(small, size=tuple(shape), mode="trilinear", align_corners=False)[0, 0]
    return back


def _spectrum(image: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z // 2 + 1) complex64: k-space of a real image, its phase-encoding lines along the second axis."""
    spectrum: torch.Tensor = torch.fft.rfftn(image, dim=(0, 1, 2))
    return spectrum


def _cross(axis: torch.Tensor) -> torch.Tensor:
    """The matrix whose exponential turns around an axis by its length in radians."""
    x, y, z = axis.tolist()
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _rotation(x: float, y: float, z: float) -> torch.Tensor:
    """A turn by angles in radians around the three axes at once."""
    return torch.matrix_exp(_cross(torch.tensor([x, y, z])))


def _turned(
    image: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    matrix: torch.Tensor,
    shift_mm: torch.Tensor,
    *,
    mode: str = "bilinear",
) -> torch.Tensor:
    """The image turned around its middle and shifted, on its own grid; what comes from outside is 0."""
    half = torch.tensor([n * v / 2 for n, v in zip(image.shape, spacing_mm, strict=True)])
    # grid_sample counts every axis from -1 to 1, and names the last axis first
    theta = (matrix.T * half[None, :]) / half[:, None]
    move = -(matrix.T @ shift_mm) / half
    theta = torch.cat([theta.flip(0, 1), move.flip(0)[:, None]], 1)
    grid = F.affine_grid(theta[None], [1, 1, *image.shape], align_corners=False)
    turned = F.grid_sample(image[None, None], grid, mode=mode, padding_mode="zeros", align_corners=False)
    moved: torch.Tensor = turned[0, 0]
    return moved
