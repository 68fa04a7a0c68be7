import numpy as np
import pytest
from scipy.special import log_softmax

from lodbrain.evaluation.reliability import at_temperature, conformal_width, fit_temperature, reliability


def drawn(temperature: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Log posteriors of a network whose log odds are `temperature` times the honest ones, and the truth."""
    rng = np.random.default_rng(0)
    honest = log_softmax(2 * rng.standard_normal((n, 5)), axis=1)
    truth = (np.exp(honest).cumsum(1) < rng.random((n, 1))).sum(1)
    return log_softmax(honest * temperature, axis=1), np.minimum(truth, 4)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.8])
def test_known_temperature_is_recovered_and_mends_the_error(temperature: float) -> None:
    log_p, truth = drawn(temperature)
    assert fit_temperature(log_p, truth) == pytest.approx(temperature, rel=0.03)

    def error(values: np.ndarray) -> float:
        return reliability(np.exp(values.max(1)), values.argmax(1) == truth).error

    assert error(at_temperature(log_p, temperature)) < 0.012
    if temperature != 1:
        assert error(log_p) > 0.05
    with pytest.raises(ValueError, match="at least one voxel"):
        fit_temperature(log_p[:0], truth[:0])


def test_sharpening_undoes_itself_and_stays_a_distribution() -> None:
    log_p, _ = drawn(1.0, 100)
    cold = at_temperature(log_p, 0.5)
    np.testing.assert_allclose(np.exp(cold).sum(1), 1)
    np.testing.assert_array_equal(cold.argmax(1), log_p.argmax(1))
    np.testing.assert_allclose(at_temperature(cold, 2.0), log_p, atol=1e-9)


def test_bins_hold_their_upper_edge_and_empty_ones_are_nan() -> None:
    found = reliability(np.array([1.0, 0.5, 0.51, 0.0]), np.array([True, False, True, False]), bins=2)
    assert found.count.tolist() == [2, 2]
    assert found.accuracy.tolist() == [0.0, 1.0]
    assert found.error == pytest.approx((0.25 + 0.245) / 2)  # bin means 0.25 and 0.755, shares 0 and 1
    assert np.isnan(reliability(np.array([0.9]), np.array([True]), bins=2).accuracy[0])
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool)).error)


def test_conformal_width_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(400):
        values = np.abs(rng.standard_normal(25))
        hits.append(np.abs(rng.standard_normal()) <= conformal_width(values[:24], 0.9))
    assert np.mean(hits) == pytest.approx(0.92, abs=0.04)  # 23 of 25
    assert conformal_width(np.arange(8.0), 0.9) == np.inf
