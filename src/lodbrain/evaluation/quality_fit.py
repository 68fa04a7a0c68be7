"""Evaluation of the quality score: linear fit of the logit, correlations, ROC of failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import expit, logit

#: A result below this mean Dice counts as failed.
FAILED_DICE = 0.7


@dataclass(frozen=True, eq=False)
class Logistic:
    """Intercept and weights of a linear model of the logit.

    Attributes
    ----------
    weights : (k,) float
    """

    intercept: float
    weights: NDArray[np.float64]

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return predictions (n,) between 0 and 1 for the rows of (n, k) features."""
        value: NDArray[np.float64] = expit(self.intercept + features @ self.weights)
        return value


def fit_logistic(
    features: NDArray[np.float64], target: NDArray[np.float64], *, signs: Sequence[int], ridge: float = 1.0
) -> Logistic:
    """Fit a logistic curve by least squares, on standardised features with weights of known signs and a ridge penalty.

    A constant feature has a weight of 0.

    Some tens of cases do not determine the weights of six correlated features. Their signs are known beforehand, for
    example that confidence indicates a good result and asymmetry a bad one: weights of the other sign are 0.

    Parameters
    ----------
    features : (n, k) float
    target : (n,) float
    signs : (k,) of 1 and -1
        Sign of each feature's effect on the target.
    ridge : float
        Penalty on the squared change of the prediction, near the mean target, per standard deviation of a feature:
        equivalent to this number of additional cases in favour of weights of 0.

    Raises
    ------
    ValueError
        If there are fewer than three rows, or the shapes do not match.

    Examples
    --------
    >>> x = np.linspace(0, 1, 11)[:, None]
    >>> fit = fit_logistic(x, 1 / (1 + np.exp(-(0.2 + 0.5 * x[:, 0]))), signs=[1], ridge=0.0)
    >>> round(fit.intercept, 4), round(float(fit.weights[0]), 4)
    (0.2, 0.5)
    """
    if features.ndim != 2 or target.shape != features.shape[:1] or len(target) < 3:
        raise ValueError(f"features must be (n, k) and target (n,), n at least 3, got {features.shape}, {target.shape}")
    direction = np.asarray(signs, dtype=np.float64)
    if direction.shape != features.shape[1:] or not (np.abs(direction) == 1).all():
        raise ValueError(f"signs must be 1 or -1, one for each of {features.shape[1]} features, got {list(signs)}")
    mean, spread = features.mean(0), features.std(0)
    unit = np.where(spread > 0, spread, np.inf)
    scaled = (features - mean) / unit * direction
    middle = float(np.clip(target.mean(), 0.01, 0.99))
    penalty = math.sqrt(ridge) * middle * (1 - middle)

    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        predicted = expit(parameters[0] + scaled @ parameters[1:])
        return np.concatenate([predicted - target, penalty * parameters[1:]])

    start = np.concatenate([[logit(middle)], np.full(len(direction), 0.1)])
    bounds = (np.concatenate([[-np.inf], np.zeros(len(direction))]), np.inf)
    solution = optimize.least_squares(misfit, start, bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12).x
    weights = solution[1:] * direction / unit
    return Logistic(float(solution[0] - mean @ weights), weights)


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of a score with the true Dice of n cases, of which `failed` are below `FAILED_DICE`.

    Attributes
    ----------
    pearson, spearman, mean_error : float
        Correlations, and the mean absolute difference. NaN where undefined.
    auc : float
        Probability that a failed case has a lower score than a good one; NaN without both kinds.
    false_alarms, found : (m,) float
        The ROC: shares of good (false alarms) and of failed cases (found) below each threshold, from (0, 0) to (1, 1).
    """

    n: int
    failed: int
    pearson: float
    spearman: float
    mean_error: float
    auc: float
    false_alarms: NDArray[np.float64]
    found: NDArray[np.float64]


def agreement(score: NDArray[np.float64], dice: NDArray[np.float64]) -> Agreement:
    """Compare scores with the Dice of the same results.

    Parameters
    ----------
    score, dice : (n,) float

    Examples
    --------
    >>> found = agreement(np.array([0.9, 0.8, 0.5, 0.4]), np.array([0.9, 0.85, 0.6, 0.3]))
    >>> found.failed, round(found.spearman, 3), found.auc
    (2, 1.0, 1.0)
    """
    bad = dice < FAILED_DICE
    varied = len(score) > 1 and np.ptp(score) > 0 and np.ptp(dice) > 0
    thresholds = np.concatenate([[-np.inf], np.unique(score), [np.inf]])
    found = np.array([(score[bad] < t).mean() if bad.any() else math.nan for t in thresholds])
    alarms = np.array([(score[~bad] < t).mean() if (~bad).any() else math.nan for t in thresholds])
    auc = math.nan
    if bad.any() and not bad.all():
        auc = float(stats.mannwhitneyu(score[~bad], score[bad]).statistic / (bad.sum() * (~bad).sum()))
    return Agreement(
        n=len(score),
        failed=int(bad.sum()),
        pearson=float(stats.pearsonr(score, dice).statistic) if varied else math.nan,
        spearman=float(stats.spearmanr(score, dice).statistic) if varied else math.nan,
        mean_error=float(np.abs(score - dice).mean()) if len(score) else math.nan,
        auc=auc,
        false_alarms=alarms,
        found=found,
    )
