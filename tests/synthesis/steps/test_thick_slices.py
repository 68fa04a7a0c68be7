from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.steps.thick_slices import RandomSlices, Slices
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


def test_thick_slices_average_along_their_axis_only(view: Callable[..., View]) -> None:
    shape = view().grid.shape
    x = torch.arange(20.0)[:, None, None].expand(shape)
    z = (torch.arange(16) % 2 * 100.0)[None, None, :].expand(shape)
    thick = Slices(2, 4.0)
    torch.testing.assert_close(thick.apply(x, view()), x)
    torch.testing.assert_close(thick.apply(z, view()), torch.full(shape, 50.0))


def test_slices_about_as_thick_as_voxels_change_nothing(image: torch.Tensor, view: Callable[..., View]) -> None:
    assert torch.equal(Slices(0, 1.1).apply(image, view()), image)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_coarse_voxels_are_the_mean_of_those_of_the_scan(
    axis: int, image: torch.Tensor, view: Callable[..., View]
) -> None:
    coarse = view().grid
    scan = image.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    thick = Slices(axis, 1.5)  # of a scan of 0.5 mm: three voxels
    sliced = thick.apply(scan, view(coarse.finer(2)))
    out = thick.apply(image, view(coarse, coarseness=2))
    torch.testing.assert_close(out, torch.nn.functional.avg_pool3d(sliced[None], 2)[0], atol=1e-3, rtol=0)
    assert not torch.equal(out, image)


def test_share_of_thick_scans() -> None:
    drawn = [RandomSlices(0.3, 4.0).draw(Stream(seed)) for seed in range(200)]
    thick = [slices for slices in drawn if slices is not None]
    assert 40 <= len(thick) <= 80
    assert all(1 <= slices.thickness_mm <= 4 for slices in thick)
    assert {slices.axis for slices in thick} == {0, 1, 2}
