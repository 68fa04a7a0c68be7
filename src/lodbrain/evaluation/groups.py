"""Means over groups of cases with bootstrap intervals, and the difference between two groups.

A subject with several scans counts once: its scans are averaged first. Intervals are percentiles of the means of
resampled subjects (Efron B, Tibshirani RJ. An Introduction to the Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lodbrain.evaluation.participants import subject_of
from lodbrain.evaluation.score import ScoreRow

#: Number of bootstrap resamples: the percentiles vary with the seed by about 2% of the interval's width.
RESAMPLES = 4000

#: Limits of an interval of 95%.
PERCENTILES = [(1 - 0.95) / 2, (1 + 0.95) / 2]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes
    ----------
    mean, low, high : float
        NaN without values; low and high also for fewer than two subjects.
    n : int
        Number of subjects with a value.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of one group minus the mean of another; p of the two-sided Mann-Whitney U test, NaN for an empty group."""

    difference: Interval
    p: float


def bootstrap_mean(values: NDArray[np.float64], *, rng: np.random.Generator) -> Interval:
    """Return mean and 95% percentile interval of independent values; NaN are ignored.

    Parameters
    ----------
    values : (n,) float

    Examples
    --------
    >>> import numpy as np
    >>> bootstrap_mean(np.array([0.9, np.nan]), rng=np.random.default_rng(0))
    Interval(mean=0.9, low=nan, high=nan, n=1)
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan, len(values))
    low, high = np.quantile(_resampled_means(values, rng), PERCENTILES)
    return Interval(float(values.mean()), float(low), float(high), len(values))


def compare_groups(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    rng: np.random.Generator,
) -> Difference:
    """Return the difference of two groups of different subjects, such as sites seen in training and unseen sites.

    Parameters
    ----------
    one, other : (n,) float
    """
    one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    if not len(one) or not len(other):
        return Difference(Interval(math.nan, math.nan, math.nan, len(one) + len(other)), math.nan)
    difference, low, high = float(one.mean() - other.mean()), math.nan, math.nan
    if len(one) > 1 and len(other) > 1:
        resampled = _resampled_means(one, rng) - _resampled_means(other, rng)
        low, high = map(float, np.quantile(resampled, PERCENTILES))
    p = float(stats.mannwhitneyu(one, other).pvalue)
    return Difference(Interval(difference, low, high, len(one) + len(other)), p)


def by_subject(rows: Sequence[ScoreRow], metric: str) -> dict[str, float]:
    """Return a metric of the rows of one region by subject: the mean over its scans in which the metric is defined."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = float(getattr(row, metric))
        if not math.isnan(value):
            values.setdefault(subject_of(row.case), []).append(value)
    return {subject: float(np.mean(found)) for subject, found in values.items()}


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    picks = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means: NDArray[np.float64] = values[picks].mean(axis=1)
    return means
