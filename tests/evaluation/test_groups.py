"""Means with intervals, and the difference of two groups."""

import math

import numpy as np
import pytest
from scipy import stats

from lodbrain.evaluation.groups import bootstrap_mean, by_subject, compare_groups
from lodbrain.evaluation.score import ScoreRow


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, 40)
    found = bootstrap_mean(values, rng=np.random.default_rng(1))
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


def test_values_that_are_missing_do_not_count() -> None:
    found = bootstrap_mean(np.array([0.5, np.nan, 0.7]), rng=np.random.default_rng(0))
    assert (found.mean, found.n) == (pytest.approx(0.6), 2)
    assert 0.5 <= found.low < found.high <= 0.7
    assert bootstrap_mean(np.array([np.nan]), rng=np.random.default_rng(0)).n == 0


def test_a_single_value_has_no_interval() -> None:
    found = bootstrap_mean(np.array([0.5]), rng=np.random.default_rng(0))
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_groups_that_differ_are_told_apart_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.9, 0.02, 30), rng.normal(0.85, 0.02, 25)
    found = compare_groups(one, other, rng=rng)
    assert found.difference.low < one.mean() - other.mean() < found.difference.high
    assert found.difference.low > 0
    assert found.p == pytest.approx(stats.mannwhitneyu(one, other).pvalue)
    same = compare_groups(one, rng.permutation(one), rng=rng)
    assert same.difference.low < 0 < same.difference.high
    assert same.p > 0.9


def test_an_empty_group_has_no_difference() -> None:
    found = compare_groups(np.array([0.5]), np.array([]), rng=np.random.default_rng(0))
    assert math.isnan(found.difference.mean)
    assert math.isnan(found.p)


def test_a_subject_counts_once() -> None:
    def row(case: str, dice: float) -> ScoreRow:
        return ScoreRow(case, "tissue", "Brain", "both", "both", dice, 1, 0, 0, 1, 1, 1, 1)

    rows = [row("sub-1_ses-1", 0.8), row("sub-1_ses-2", 0.9), row("sub-2", 0.5), row("sub-3", math.nan)]
    assert by_subject(rows, "dice") == {"sub-1": pytest.approx(0.85), "sub-2": 0.5}
