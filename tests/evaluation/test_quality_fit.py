import numpy as np
import pytest
from scipy.special import expit

from lodbrain.evaluation.quality_fit import agreement, fit_logistic


def test_fit_finds_weights_that_made_the_values_and_leaves_out_what_never_changes() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((200, 3))
    features[:, 2] = 7
    fit = fit_logistic(features, expit(0.3 + features[:, :2] @ [4, -2]), signs=[1, -1, 1], ridge=0.0)
    np.testing.assert_allclose(fit.weights, [4, -2, 0], atol=1e-4)
    assert fit.intercept == pytest.approx(0.3, abs=1e-4)


def test_ridge_draws_weights_to_zero_and_keeps_the_mean() -> None:
    features = np.random.default_rng(0).random((20, 2))
    target = 0.5 + 0.1 * features[:, 0]
    plain, drawn = (fit_logistic(features, target, signs=[1, 1], ridge=ridge) for ridge in (0.0, 100.0))
    assert 0 < drawn.weights[0] < 0.3 * plain.weights[0]
    assert drawn.predict(features).mean() == pytest.approx(target.mean(), abs=1e-4)


def test_weight_of_the_wrong_sign_is_none_at_all() -> None:
    features = np.random.default_rng(0).random((50, 2))
    fit = fit_logistic(features, features @ [0.4, 0.3], signs=[1, -1], ridge=0.0)
    assert abs(fit.weights[1]) < 1e-4
    assert fit.weights[0] > 1


def test_prediction_tells_good_from_better_beyond_what_was_fitted() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    fit = fit_logistic(x, expit(3 * x[:, 0]), signs=[1], ridge=0.0)
    low, best, better, perfect = fit.predict(np.array([[-5.0], [1.0], [1.5], [9.0]])).tolist()
    assert 0 < low < best < better < perfect < 1


def test_too_few_or_odd_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="n at least 3"):
        fit_logistic(np.zeros((2, 1)), np.zeros(2), signs=[1])
    with pytest.raises(ValueError, match="n at least 3"):
        fit_logistic(np.zeros((4, 1)), np.zeros(3), signs=[1])
    with pytest.raises(ValueError, match="signs must be 1 or -1"):
        fit_logistic(np.zeros((4, 1)), np.zeros(4), signs=[1, 1])


def test_agreement_of_hand_computed_cases() -> None:
    found = agreement(np.array([0.9, 0.6, 0.8, 0.5]), np.array([0.9, 0.8, 0.6, 0.5]))
    assert (found.n, found.failed) == (4, 2)
    # of the four pairs of a good and a failed case three are in the right order
    assert found.auc == 0.75
    assert found.spearman == pytest.approx(0.8)
    assert found.mean_error == pytest.approx(0.1)
    # below 0.9: both failed ones, and one of the good
    at = [-np.inf, 0.5, 0.6, 0.8, 0.9, np.inf].index(0.9)
    assert (found.found[at], found.false_alarms[at]) == (1.0, 0.5)
    assert (found.found[0], found.false_alarms[0], found.found[-1], found.false_alarms[-1]) == (0, 0, 1, 1)


def test_ties_count_half() -> None:
    assert agreement(np.array([0.5, 0.5]), np.array([0.9, 0.1])).auc == 0.5


def test_without_failed_cases_or_variation_there_is_no_number() -> None:
    good = agreement(np.array([0.9, 0.8]), np.array([0.9, 0.95]))
    assert np.isnan(good.auc)
    assert good.pearson == pytest.approx(-1)
    assert np.isnan(agreement(np.array([0.9, 0.9]), np.array([0.9, 0.95])).pearson)
