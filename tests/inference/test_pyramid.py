import numpy as np
import pytest
import torch

from lodbrain.inference.pyramid import (
    WorkingGrid,
    interpolation_matrix,
    pad_to,
    pool,
    resample,
    working_grid,
)


def test_about_isotropic_scan_is_worked_on_as_it_is() -> None:
    grid = working_grid((10, 11, 12), (0.7, 0.7, 0.8), 0.55)
    assert grid == WorkingGrid((10, 11, 12), (0.7, 0.7, 0.8), True)
    assert grid.voxel_mm == pytest.approx((0.7 * 0.7 * 0.8) ** (1 / 3))


@pytest.mark.parametrize(("voxel", "factor"), [(0.5, 2), (0.28, 2), (0.27, 4), (0.14, 4)])
def test_scan_finer_than_the_model_is_halved_until_it_fits(voxel: float, factor: int) -> None:
    grid = working_grid((21, 20, 22), (voxel, voxel, voxel), 0.55)
    assert not grid.native
    assert grid.spacing_mm == (voxel * factor,) * 3
    assert grid.shape == tuple(-(-n // factor) for n in (21, 20, 22))
    assert 0.55 <= grid.voxel_mm < 1.1
    assert f"{factor} times" in grid.note


@pytest.mark.parametrize(
    ("spacing", "voxel"),
    [
        ((1.0, 1.0, 1.21), 1.0),  # smallest side
        ((0.8, 0.8, 2.0), 1.0),  # at least a mean side, up to 1 mm
        ((0.7, 0.7, 0.9), 0.7612),
        ((2.0, 2.0, 5.0), 2.0),
        ((0.3, 0.3, 0.4), 0.55),  # not finer than the model
    ],
)
def test_anisotropic_scan_is_resampled(spacing: tuple[float, float, float], voxel: float) -> None:
    grid = working_grid((40, 40, 20), spacing, 0.55)
    assert not grid.native
    assert grid.spacing_mm == pytest.approx((voxel,) * 3, abs=1e-4)
    for n, m, v in zip(grid.shape, (40, 40, 20), spacing, strict=True):
        assert -0.02 * voxel <= n * voxel - m * v < voxel  # covers the scan, without a whole voxel too many
    assert "resampled" in grid.note


@pytest.mark.parametrize(("v_to", "v_from"), [(0.5, 1.0), (1.0, 1.0), (0.7, 1.0), (2.0, 1.0), (1.3, 1.0), (3.1, 0.5)])
def test_rows_of_the_interpolation_sum_to_one(v_to: float, v_from: float) -> None:
    n_from = 24
    n_to = int(n_from * v_from / v_to)
    matrix = interpolation_matrix(n_to, v_to, n_from, v_from)
    torch.testing.assert_close(matrix.sum(1), torch.ones(n_to))
    assert float(matrix.min()) >= 0


@pytest.mark.parametrize(("v_to", "v_from"), [(0.5, 1.0), (1.0, 1.0), (0.7, 1.0), (0.9, 1.1), (2.0, 1.0), (3.0, 1.0)])
def test_interpolation_reproduces_ramps_inside(v_to: float, v_from: float) -> None:
    n_from = 24
    n_to = int(n_from * v_from / v_to)
    centres = (torch.arange(n_from) + 0.5) * v_from
    expected = (torch.arange(n_to) + 0.5) * v_to
    found = interpolation_matrix(n_to, v_to, n_from, v_from) @ centres
    inside = (expected > max(v_to, v_from)) & (expected < n_from * v_from - max(v_to, v_from))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-4, rtol=0)


def test_growing_voxels_skip_nothing() -> None:
    matrix = interpolation_matrix(6, 4.0, 24, 1.0)
    assert bool((matrix.sum(0) > 0).all())


def test_resampling_keeps_a_ramp_along_each_axis() -> None:
    scan, grid = WorkingGrid((12, 10, 8), (1.0, 1.0, 2.0), True), WorkingGrid((12, 10, 16), (1.0, 1.0, 1.0), False)
    x, y, z = torch.arange(12.0), torch.arange(10.0), torch.arange(8.0) * 2 + 1
    volume = x[:, None, None] + 10 * y[None, :, None] + 100 * z[None, None, :]
    out = resample(volume.numpy(), scan, grid)
    expected = x[:, None, None] + 10 * y[None, :, None] + 100 * (torch.arange(16.0) + 0.5)[None, None, :]
    torch.testing.assert_close(out[..., 1:-1], expected[..., 1:-1])
    torch.testing.assert_close(resample(volume.numpy(), scan, scan), volume)


def test_resampling_takes_any_order_of_memory_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    scan, grid = WorkingGrid((12, 10, 8), (1.0, 1.0, 2.0), True), WorkingGrid((6, 5, 16), (2.0, 2.0, 1.0), False)
    data = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    matrices = [
        interpolation_matrix(n, v, m, w)
        for n, v, m, w in zip(grid.shape, grid.spacing_mm, scan.shape, scan.spacing_mm, strict=True)
    ]
    expected = torch.einsum("xl,ym,zn,lmn->xyz", *matrices, torch.from_numpy(data))
    monkeypatch.setattr("lodbrain.inference.pyramid.RESAMPLED_VOXELS", 300)
    for view in (data, np.asfortranarray(data), np.ascontiguousarray(data[::-1, :, ::-1])[::-1, :, ::-1]):
        torch.testing.assert_close(resample(view, scan, grid), expected)


def test_pooling_is_the_mean_of_the_voxels_that_exist() -> None:
    volume = torch.arange(5 * 4 * 2.0).view(5, 4, 2)
    out = pool(volume)
    assert out.shape == (3, 2, 1)
    assert float(out[0, 1, 0]) == float(volume[:2, 2:4].mean())
    assert float(out[2, 0, 0]) == float(volume[4:, :2].mean())


def test_padding_is_zeros_behind_the_last_voxel() -> None:
    volume = torch.ones(5, 4, 7)
    out = pad_to(volume, 4)
    assert out.shape == (8, 4, 8)
    assert torch.equal(out[:5, :4, :7], volume)
    assert float(out.sum()) == float(volume.sum())
    assert pad_to(volume, 1) is volume
    assert pad_to(volume[None], 4).shape == (1, 8, 4, 8)
