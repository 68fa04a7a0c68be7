import pytest
import torch
import torch.nn.functional as F

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.grain import grain
from lodbrain.synthesis.steps.view import View

#: 160 x 144 x 152 mm: 14,000 voxels of 8 mm less those at the edge.
SCAN = Grid((160, 144, 152), (1.0, 1.0, 1.0), (-80.0, -72.0, -76.0))


def _view(coarseness: int, scan: Grid = SCAN, seed: int = 1) -> View:
    return View(scan.coarser(coarseness), scan.extent_mm, Deformation((0.0, 0.0, 0.0)), 160.0, seed, coarseness)


#: Standard deviation of the mean of c x c x c voxels: c^-0.75.
FALL = {1: 1.0, 2: 0.595, 4: 0.354, 8: 0.210}


@pytest.mark.parametrize("coarseness", FALL)
def test_sd_of_grain_falls_with_the_voxel_side_to_the_power_of_three_quarters(coarseness: int) -> None:
    pooled = F.avg_pool3d(grain(_view(1))[None], coarseness)
    coarse = grain(_view(coarseness))
    assert float(pooled.std()) == pytest.approx(FALL[coarseness], rel=0.04)
    assert float(coarse.std()) == pytest.approx(FALL[coarseness], rel=0.04)
    assert abs(float(coarse.mean())) < 0.02


def test_grain_of_large_voxels_falls_as_white_noise() -> None:
    wide = Grid((512, 512, 512), (1.0, 1.0, 1.0), (-256.0, -256.0, -256.0))
    assert float(grain(_view(16, wide)).std()) == pytest.approx(FALL[8] / 8**0.5, rel=0.02)


def test_grain_is_the_same_for_a_view_and_differs_between_scans() -> None:
    assert torch.equal(grain(_view(2)), grain(_view(2)))
    assert abs(float((grain(_view(2)) * grain(_view(2, seed=2))).mean())) < 0.01


@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 2, 3), (16, 8, 4)])
@pytest.mark.parametrize("coarseness", [1, 2, 4, 8, 16])
def test_grain_has_the_shape_of_its_view(shape: tuple[int, int, int], coarseness: int) -> None:
    small = Grid(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    out = grain(View(small, small.extent_mm, Deformation((0.0, 0.0, 0.0)), 160.0, 1, coarseness))
    assert out.shape == shape
    assert bool(out.isfinite().all())
