"""Smooth random fields in scanner space, fast to evaluate on any grid.

A field is a cubic B-spline with control points on a regular lattice. The spline is separable, so that evaluation on a
grid is three small matrix products: 160^3 points of one channel take some tens of milliseconds on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

#: Standard deviation of a cubic B-spline field between its control points, for random control points of 1:
#: (integral of B^2)^(3/2) = (151/315)^(3/2).
SPLINE_SD = (151 / 315) ** 1.5

#: Side of the cube of scanner space in which fields are defined: a rotated head with its neck.
EXTENT_MM = 320.0


@dataclass(frozen=True)
class Grid:
    """A regular grid in scanner space, whose origin is near the centre of the brain.

    Attributes
    ----------
    shape : tuple of 3 int
        Voxels along right, anterior, superior.
    spacing_mm : tuple of 3 float
        Voxel size.
    corner_mm : tuple of 3 float
        Outer corner of voxel (0, 0, 0), so that a grid pooled by 2 keeps its corner.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    corner_mm: tuple[float, float, float]

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Size of the field of view, mm."""
        x, y, z = (n * v for n, v in zip(self.shape, self.spacing_mm, strict=True))
        return x, y, z

    def finer(self, factor: int) -> Grid:
        """Return the same field of view with every voxel split into `factor` cubed."""
        x, y, z = (n * factor for n in self.shape)
        a, b, c = (v / factor for v in self.spacing_mm)
        return Grid((x, y, z), (a, b, c), self.corner_mm)

    def coarser(self, factor: int) -> Grid:
        """Return the covering grid of voxels `factor` times as large (the last may extend beyond this grid)."""
        x, y, z = (-(-n // factor) for n in self.shape)
        a, b, c = (v * factor for v in self.spacing_mm)
        return Grid((x, y, z), (a, b, c), self.corner_mm)

    def crop(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
        """Return a box of this grid (it may extend beyond the grid)."""
        a, b, c = (o + i * v for o, i, v in zip(self.corner_mm, start, self.spacing_mm, strict=True))
        return Grid(shape, self.spacing_mm, (a, b, c))

    def moved(self, axis: int, by_mm: float) -> Grid:
        """Return a grid of the same voxels, shifted along one axis."""
        a, b, c = (o + by_mm * (axis == d) for d, o in enumerate(self.corner_mm))
        return Grid(self.shape, self.spacing_mm, (a, b, c))

    def axes_mm(self, device: torch.device | str = "cpu") -> list[torch.Tensor]:
        """Return the centres of the voxels along each axis, three float32 tensors."""
        return [
            (torch.arange(n, dtype=torch.float32, device=device) + 0.5) * v + o
            for n, v, o in zip(self.shape, self.spacing_mm, self.corner_mm, strict=True)
        ]


def _spline_weights(at_mm: torch.Tensor, lattice_mm: float, n: int) -> torch.Tensor:
    """(P, n): weight of each control point at each position.

    The lattice is centred on 0; positions beyond it are clamped.
    """
    t = (at_mm / lattice_mm + (n - 1) / 2).clamp(0, n - 1)
    d = (t[:, None] - torch.arange(n, device=at_mm.device)).abs()
    inner, outer = 2 / 3 - d**2 + d**3 / 2, (2 - d).clamp(min=0) ** 3 / 6
    return torch.where(d < 1, inner, outer)


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A cubic B-spline field, centred on the origin of scanner space.

    Control points (C, L, M, N) float32 are `lattice_mm` apart.
    """

    control: torch.Tensor
    lattice_mm: float

    def to(self, device: torch.device | str) -> SmoothField:
        """Return the same field on another device."""
        return SmoothField(self.control.to(device), self.lattice_mm)

    def on(self, grid: Grid, rows: slice = slice(None)) -> torch.Tensor:
        """Return the values (C, X, Y, Z) float32 on a grid, or on some rows of its first axis."""
        planes, weights = self.planes(grid, rows)
        return planes @ weights

    def planes(self, grid: Grid, rows: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two factors of the field: (C, X, Y, N) along the first two axes, (N, Z) weights along the last."""
        x, y, z = grid.axes_mm(self.control.device)
        wx, wy, wz = (
            _spline_weights(axis, self.lattice_mm, n)
            for axis, n in zip((x[rows], y, z), self.control.shape[1:], strict=True)
        )
        # Smallest products first: the full-size axis comes last.
        out = torch.einsum("clmn,xl->cxmn", self.control, wx)
        return torch.einsum("cxmn,ym->cxyn", out, wy), wz.T


def random_control(
    channels: int, lattice_mm: float, extent_mm: float, generator: torch.Generator, *, smooth: float = 0.0
) -> torch.Tensor:
    """Return standard normal control points (C, n, n, n) float32 that cover +-`extent_mm`/2, optionally smoothed.

    Parameters
    ----------
    lattice_mm : float
        Distance of the control points.
    extent_mm : float
        Edge of the cube of scanner space that is covered.
    generator : torch.Generator
        On the CPU.
    smooth : float
        s in (0, 1): neighbours are mixed along each axis (1-s, s/2, s/2), and the variance is restored; 0 for none.
    """
    n = int(extent_mm / lattice_mm) + 4
    control = torch.randn((channels, n, n, n), generator=generator)
    if smooth > 0:
        for axis in (1, 2, 3):
            control = (1 - smooth) * control + smooth / 2 * (control.roll(1, axis) + control.roll(-1, axis))
        control = control / control.std()
    return control


@dataclass(frozen=True)
class RandomField:
    """A smooth random field of one channel, stored as its seed instead of its control points.

    Attributes
    ----------
    lattice_mm : float
        Distance of the control points, which are standard normal; between them the field's standard deviation is
        `SPLINE_SD`.
    """

    seed: int
    lattice_mm: float

    @cached_property
    def spline(self) -> SmoothField:
        """Return the field with its control points, on the CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        return SmoothField(random_control(1, self.lattice_mm, EXTENT_MM, generator), self.lattice_mm)

    def on(self, grid: Grid, device: torch.device | str = "cpu", rows: slice = slice(None)) -> torch.Tensor:
        """Return values on a grid, (X, Y, Z) float32; `rows` is part of its first axis."""
        return self.spline.to(device).on(grid, rows)[0]
