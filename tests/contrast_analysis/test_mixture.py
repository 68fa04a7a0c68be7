import numpy as np
import pytest

from lodbrain.contrast_analysis.mixture import GROUPS, component_prior, first_guess, mixed_density, normal_density
from lodbrain.contrast_analysis.sampling import Samples
from lodbrain.labels import SIDELESS


def test_every_structure_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(SIDELESS[1:])


@pytest.mark.parametrize(("one", "other"), [(0.0, 100.0), (100.0, 0.0), (50.0, 50.2)])
def test_partial_volume_is_a_density_around_the_middle(one: float, other: float) -> None:
    y = np.linspace(-200, 300, 5001)
    density = mixed_density(y, np.full_like(y, one), np.full_like(y, other), np.full_like(y, 6.0))
    assert np.trapezoid(density, y) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(y * density, y) == pytest.approx((one + other) / 2, abs=1e-3)


def test_partial_volume_is_what_random_shares_look_like() -> None:
    rng = np.random.default_rng(0)
    drawn = 40 + 60 * rng.uniform(size=200_000) + rng.normal(0, 5, 200_000)
    counts, edges = np.histogram(drawn, 40, density=True)
    middles = (edges[1:] + edges[:-1]) / 2
    expected = mixed_density(middles, np.full(40, 40.0), np.full(40, 100.0), np.full(40, 5.0))
    np.testing.assert_allclose(counts, expected, atol=0.0006)


def test_partial_volume_of_the_same_is_pure() -> None:
    y = np.linspace(30, 70, 5)
    same, sd = np.full(5, 50.0), np.full(5, 4.0)
    np.testing.assert_allclose(mixed_density(y, same, same, sd), normal_density(y, same, sd))


def test_the_prior_of_a_voxel_is_shared_out_whole() -> None:
    samples = Samples(
        values=np.zeros(3),
        weights=np.ones(3),
        at_mm=np.zeros((3, 3)),
        classes=np.array([[1, 2, 3], [1, 2, 0], [2, 0, 1]]),
        shares=np.array([[1.0, 0, 0], [0.6, 0.3, 0.1], [0.9, 0.1, 0]]),
        pure=np.array([[1.0, 0, 0], [0.2, 0, 0], [0, 0, 0]]),
    )
    prior = component_prior(samples)
    np.testing.assert_allclose(prior.pure.sum(1) + prior.mixed.sum(1) + prior.other, 1)
    np.testing.assert_allclose(prior.pure[0], [1, 0, 0])  # deep inside: pure
    np.testing.assert_allclose(prior.mixed[1], [0.4, 0, 0])  # at a border: half of the rest; never with background
    np.testing.assert_allclose(prior.mixed[2], 0)
    np.testing.assert_allclose(prior.other, [0, 0.04, 0.1])
    np.testing.assert_allclose(prior.border, [0, 0.8, 1])


def test_white_matter_of_one_value_keeps_a_spread() -> None:
    n = 1000
    samples = Samples(
        values=np.where(np.arange(n) < 900, 110.0, 100.0),
        weights=np.ones(n),
        at_mm=np.zeros((n, 3)),
        classes=np.tile([1, 2, 3], (n, 1)),
        shares=np.tile([1.0, 0, 0], (n, 1)),
        pure=np.tile([1.0, 0, 0], (n, 1)),
    )
    clipped = first_guess(samples.values, samples)
    assert clipped.clipped and clipped.sds[1] == pytest.approx(0.03 * 110)
    noisy = first_guess(samples.values + np.random.default_rng(0).normal(0, 0.1, n), samples)
    assert not noisy.clipped and noisy.sds[1] == pytest.approx(0.005 * 110, rel=0.1)
