"""`View`: grid, pose and anatomy of a rendering, as passed to the steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.streams import seed_of


@dataclass(frozen=True, eq=False)
class View:
    """One rendering of a scan.

    Attributes
    ----------
    grid : Grid
        Grid of the image: the scan's own, a coarser one, or a crop.
    fov_mm : tuple of 3 float
        Extent of the whole scan along its axes.
    pose : Deformation
        Pose of the head in the scanner.
    white_matter : float
        Intensity of cerebral white matter, the unit of noise.
    seed : int
        Seed of the scan's noise.
    coarseness : int
        Voxel side of `grid` in voxels of the scan.
    signal : (X, Y, Z) float32 tensor or None
        Signal of the tissue before any step; 0 in air.
    distance_mm : (X, Y, Z) float32 tensor or None
        Distance to the brain; 0 inside.
    """

    grid: Grid
    fov_mm: tuple[float, float, float]
    pose: Deformation
    white_matter: float
    seed: int
    coarseness: int = 1
    signal: torch.Tensor | None = None
    distance_mm: torch.Tensor | None = None

    def rows(self, start: int, stop: int) -> View:
        """Return the view of rows `start` to `stop` of the first axis, with their anatomy."""
        _, ny, nz = self.grid.shape
        signal, distance = (None if a is None else a[start:stop] for a in (self.signal, self.distance_mm))
        grid = self.grid.crop((start, 0, 0), (stop - start, ny, nz))
        return replace(self, grid=grid, signal=signal, distance_mm=distance)

    def moved(self, axis: int, by_mm: float) -> View:
        """Return a view of the same scan farther along an axis, without anatomy."""
        return replace(self, grid=self.grid.moved(axis, by_mm), signal=None, distance_mm=None)

    def random(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a random generator for a step, on `device`: the same for the same grid of the same scan."""
        corner = (round(c * 1000) for c in self.grid.corner_mm)
        seed = seed_of(self.seed, name, *self.grid.shape, self.coarseness, *corner)
        return torch.Generator(device).manual_seed(seed)

    def normal(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """Return standard normal numbers of the shape and on the device of an image."""
        return torch.randn(like.shape, generator=self.random(name, like.device), device=like.device)

    def uniform(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """Return uniform numbers in 0 to 1 of the shape and on the device of an image."""
        return torch.rand(like.shape, generator=self.random(name, like.device), device=like.device)


class Step(Protocol):
    """A fixed step that changes an image."""

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the changed image; the input is not modified."""
        ...
