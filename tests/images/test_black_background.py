"""A background of one value becomes black where it is none, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model

from lodbrain.images.black_background import blacken_background


def stripped(background: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The brain of the tiny head before a background, and where the background is."""
    data = tiny_model.head((48, 54, 45)).astype(np.float32)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in data.shape), indexing="ij")
    outside = x**2 + y**2 + z**2 > 0.7**2
    data[outside] = background
    return data, outside


@pytest.mark.parametrize("background", [-1000.0, -500.0, 300.0, 900.0, 5000.0])
def test_background_that_is_no_black_becomes_the_darkest_of_the_head(background):
    data, outside = stripped(background)
    black, note = blacken_background(data)
    darkest = np.percentile(data[~outside], 0.1)
    np.testing.assert_allclose(black[outside], darkest, rtol=0.05)
    np.testing.assert_array_equal(black[~outside], data[~outside])
    assert f"The background ({background:g}) lies" in note
    assert data[outside][0] == background  # the scan itself is left alone


@pytest.mark.parametrize("background", [-200.0, 60.0, 80.0, 120.0])
def test_plausible_black_stays(background):
    data, _ = stripped(background)
    black, note = blacken_background(data)
    assert black is data
    assert note == ""


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.01, -3.0), (50.0, 1e5)])
@pytest.mark.parametrize("background", [-1000.0, 0.0, 600.0])
def test_gain_and_offset_decide_nothing(background, gain, offset):
    data, _ = stripped(background)
    moved, _ = blacken_background((data * gain + offset).astype(np.float32))
    np.testing.assert_allclose((moved - offset) / gain, blacken_background(data)[0], atol=2)


def test_tissue_of_the_background_s_value_is_kept():
    data, outside = stripped(600.0)
    before = (data[~outside] == 600).sum()
    assert before > 100
    after = (blacken_background(data)[0][~outside] == 600).sum()
    assert 0.5 * before < after < before  # on the surface of this small brain it joins the background


def test_doing_it_again_changes_nothing():
    black, _ = blacken_background(stripped(400.0)[0])
    again, note = blacken_background(black)
    assert again is black
    assert note == ""


def test_noisy_air_is_no_background_of_one_value():
    data = tiny_model.head().astype(np.float32) + np.random.default_rng(0).random(tiny_model.SHAPE, np.float32)
    assert blacken_background(data)[0] is data


def test_commonest_value_of_coarsely_quantised_air_stays():
    air = np.random.default_rng(0).rayleigh(2.0, (40, 40, 40)).round().astype(np.float32)
    air[10:30, 10:30, 10:30] = np.random.default_rng(1).normal(100, 20, (20, 20, 20)).round()
    values, counts = np.unique(air[0], return_counts=True)
    assert values[counts.argmax()] > 0
    assert counts.max() > 0.2 * air[0].size
    assert blacken_background(air)[0] is air


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4)])
def test_constant_volume_stays(shape):
    data = np.full(shape, 5, np.float32)
    assert blacken_background(data)[0] is data


@pytest.mark.parametrize("background", [0, 200])
def test_mask_stays(background):
    data = np.full((20, 20, 20), background, np.float32)
    data[5:15, 5:15, 5:15] = 100
    assert blacken_background(data)[0] is data
