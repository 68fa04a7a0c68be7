import pytest
import torch

from lodbrain.synthesis.fields import Grid, SmoothField, random_control

GRID = Grid((12, 10, 7), (1.0, 1.5, 2.0), (-6.0, -7.5, -6.0))


def _field(channels: int = 2) -> SmoothField:
    return SmoothField(random_control(channels, 6.0, 40.0, torch.Generator().manual_seed(0)), 6.0)


def test_centres_lie_half_a_voxel_from_the_corner() -> None:
    x, y, z = GRID.axes_mm()
    assert x.tolist() == [i - 5.5 for i in range(12)]
    assert (float(y[0]), float(y[-1])) == (-6.75, 6.75)
    assert (float(z[0]), float(z[-1])) == (-5.0, 7.0)


def test_finer_and_coarser_keep_the_corner_and_the_centres_fit() -> None:
    fine = GRID.finer(2)
    assert fine == Grid((24, 20, 14), (0.5, 0.75, 1.0), GRID.corner_mm)
    assert fine.coarser(2) == GRID
    for coarse_axis, fine_axis in zip(GRID.axes_mm(), fine.axes_mm(), strict=True):
        torch.testing.assert_close(fine_axis.view(-1, 2).mean(1), coarse_axis)


def test_coarser_covers_what_does_not_divide() -> None:
    coarse = GRID.coarser(4)
    assert coarse == Grid((3, 3, 2), (4.0, 6.0, 8.0), GRID.corner_mm)


def test_crop_has_the_centres_of_its_part() -> None:
    crop = GRID.crop((3, 0, 2), (4, 10, 3))
    assert crop.corner_mm == (-3.0, -7.5, -2.0)
    for axis, whole, start in zip(crop.axes_mm(), GRID.axes_mm(), (3, 0, 2), strict=True):
        torch.testing.assert_close(axis, whole[start : start + len(axis)])


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_field_in_chunks_of_rows_is_the_whole_field(rows: int) -> None:
    field = _field()
    chunks = [field.on(GRID, slice(start, start + rows)) for start in range(0, 12, rows)]
    torch.testing.assert_close(torch.cat(chunks, 1), field.on(GRID), rtol=0, atol=1e-6)


def test_field_on_a_crop_is_the_crop_of_the_field() -> None:
    field = _field()
    torch.testing.assert_close(
        field.on(GRID.crop((2, 1, 3), (5, 6, 4))), field.on(GRID)[:, 2:7, 1:7, 3:7], rtol=0, atol=1e-5
    )


def test_field_reproduces_constants_and_ramps() -> None:
    lattice = (torch.arange(11) - 5.0) * 6.0
    control = torch.stack(
        [torch.full((11, 11, 11), 3.0), *(c for c in torch.meshgrid(lattice, lattice, lattice, indexing="ij"))]
    )
    values = SmoothField(control, 6.0).on(GRID)
    x, y, z = GRID.axes_mm()
    torch.testing.assert_close(values[0], torch.full(GRID.shape, 3.0))
    torch.testing.assert_close(values[1], x[:, None, None].expand(GRID.shape), atol=1e-5, rtol=0)
    torch.testing.assert_close(values[2], y[None, :, None].expand(GRID.shape), atol=1e-5, rtol=0)
    torch.testing.assert_close(values[3], z[None, None, :].expand(GRID.shape), atol=1e-5, rtol=0)


def test_same_seed_same_control_points() -> None:
    torch.testing.assert_close(_field().control, _field().control, rtol=0, atol=0)


def test_smoothing_joins_neighbours_and_keeps_the_variance() -> None:
    rough, smooth = (
        random_control(3, 10.0, 200.0, torch.Generator().manual_seed(1), smooth=s)[:, 2:-2, 2:-2, 2:-2]
        for s in (0.0, 0.5)
    )
    assert abs(float(rough.std()) - 1) < 0.05
    assert abs(float(smooth.std()) - 1) < 0.1
    correlation = [float((c[:, 1:] * c[:, :-1]).mean() / c.square().mean()) for c in (rough, smooth)]
    assert abs(correlation[0]) < 0.05
    # (1/4, 1/2, 1/4): the products of shifted weights over those of the same are 4/6
    assert abs(correlation[1] - 2 / 3) < 0.07
