"""A grid of 20 x 18 x 16 mm around the brain's centre, seen as a scan of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.view import View

GRID = Grid((20, 18, 16), (1.0, 1.0, 1.0), (-10.0, -9.0, -8.0))


@pytest.fixture(scope="session")
def view() -> Callable[..., View]:
    """A function: a view of a grid, white matter of 160, with whatever else is asked for."""

    def make(grid: Grid = GRID, **rest: Any) -> View:
        pose = rest.pop("pose", Deformation((0.0, 0.0, 0.0)))
        return View(grid=grid, fov_mm=grid.extent_mm, pose=pose, white_matter=160.0, seed=rest.pop("seed", 1), **rest)

    return make


@pytest.fixture(scope="session")
def image() -> torch.Tensor:
    """(20, 18, 16): 0 to 100."""
    return torch.rand(GRID.shape, generator=torch.Generator().manual_seed(1)) * 100
