import numpy as np
import pytest
import torch

from lodbrain.contrast_analysis.bias_fit import BiasFit, LogField, strength_and_scale
from lodbrain.synthesis.fields import Grid, SmoothField

GRID = np.stack(np.meshgrid(*(np.arange(0, 160, 5.0) for _ in range(3)), indexing="ij"), -1).reshape(-1, 3)


def test_a_smooth_field_is_found_and_its_mean_is_zero() -> None:
    rng = np.random.default_rng(0)
    truth = 0.2 * np.sin(GRID[:, 0] / 50) * np.cos(GRID[:, 2] / 60)
    fit = BiasFit(GRID)
    fit.improve(truth + rng.normal(0, 0.05, len(GRID)), np.full(len(GRID), 400.0), np.ones(len(GRID)))
    assert np.corrcoef(fit.values, truth)[0, 1] > 0.99
    assert fit.values.std() == pytest.approx(truth.std(), rel=0.03)
    assert fit.values.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(fit.field.at(GRID), fit.values, atol=1e-9)


def test_an_exact_field_needs_no_second_step() -> None:
    fit = BiasFit(GRID)
    fit.improve(0.1 * np.sin(GRID[:, 1] / 60), np.ones(len(GRID)), np.ones(len(GRID)))
    before = fit.values
    fit.improve(np.zeros(len(GRID)), np.ones(len(GRID)), np.ones(len(GRID)))
    np.testing.assert_allclose(fit.values, before, atol=0.01)


def test_points_and_grid_see_the_same_field() -> None:
    control = np.random.default_rng(0).normal(size=(6, 7, 8))
    field = LogField(control, np.array([-30.0, -40.0, -50.0]))
    spacing = np.array([3.0, 4.0, 5.0])
    box = field.on((5, 6, 7), spacing, start=(10, 9, 8))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (5, 6, 7)), indexing="ij"), -1).reshape(-1, 3)
    np.testing.assert_allclose(field.at((index + np.array([10, 9, 8])) * spacing), box.ravel(), atol=1e-9)


def test_the_field_is_the_spline_that_the_generator_draws() -> None:
    control = torch.randn((1, 6, 6, 6), generator=torch.Generator().manual_seed(0))
    grid = Grid((10, 11, 12), (4.0, 4.0, 4.0), (-20.0, -22.0, -24.0))
    drawn = SmoothField(control, 40.0).on(grid)[0].numpy()
    first = -2.5 * 40.0 - np.array([-18.0, -20.0, -22.0])  # from the centre of the first voxel
    ours = LogField(control[0].double().numpy(), first).on(grid.shape, np.full(3, 4.0))
    np.testing.assert_allclose(ours, drawn, atol=1e-5)


def test_scale_tells_wide_from_narrow_fields() -> None:
    mask = np.ones((40, 40, 40), bool)
    scales = []
    for lattice in (40.0, 80.0):
        control = np.random.default_rng(0).normal(size=(9, 9, 9)) * 0.1
        field = LogField(control, np.full(3, -80.0 - lattice), lattice)
        strength, scale = strength_and_scale(field, mask, np.full(3, 4.0))
        assert strength == pytest.approx(0.1 * (151 / 315) ** 1.5, rel=0.5)
        scales.append(scale)
    assert scales[0] == pytest.approx(0.85 * 40, rel=0.25)
    assert 1.2 < scales[1] / scales[0] < 2  # less than twice: the wide field does not fit into the box
