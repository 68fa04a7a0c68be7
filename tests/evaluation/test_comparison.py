"""Models on the same cases."""

import math

import numpy as np
import pytest
from scipy import stats

from lodbrain.evaluation.comparison import compare_models, holm


def test_pairs_are_tested_on_common_subjects_only() -> None:
    rng = np.random.default_rng(0)
    one = {f"s{n}": value for n, value in enumerate(rng.normal(0.9, 0.02, 12))}
    other = {name: value - 0.03 + 0.01 * rng.normal() for name, value in one.items() if name != "s0"} | {"alone": 0.1}
    (found,) = compare_models({"one": one, "other": other}, rng=rng)
    differences = [one[f"s{n}"] - other[f"s{n}"] for n in range(1, 12)]
    assert (found.one, found.other, found.difference.n) == ("one", "other", 11)
    assert found.difference.mean == pytest.approx(np.mean(differences))
    assert found.wins == sum(d > 0 for d in differences)
    assert found.p == stats.wilcoxon(differences).pvalue < 0.01


def test_three_models_make_three_pairs() -> None:
    values = {name: {"s": 0.5} for name in "abc"}
    found = compare_models(values, rng=np.random.default_rng(0))
    assert [(pair.one, pair.other) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_equal_models_do_not_differ() -> None:
    values = {f"s{n}": n / 10 for n in range(8)}
    (found,) = compare_models({"a": values, "b": dict(values)}, rng=np.random.default_rng(0))
    assert (found.p, found.wins, found.losses, found.difference.mean) == (1, 0, 0, 0)


def test_without_common_subjects_there_is_no_test() -> None:
    (found,) = compare_models({"a": {"x": 1.0}, "b": {"y": 1.0}}, rng=np.random.default_rng(0))
    assert math.isnan(found.p)


def test_holm_by_hand() -> None:
    # sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, then never below what came before
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]


def test_holm_leaves_out_what_was_not_tested() -> None:
    found = holm([0.02, math.nan, 0.5])
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.5])
    assert math.isnan(found[1])


def test_the_smaller_distance_wins() -> None:
    near, far = {"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 2.0, "y": 3.0, "z": 1.0}
    (found,) = compare_models({"near": near, "far": far}, rng=np.random.default_rng(0), more_is_better=False)
    assert (found.wins, found.losses) == (2, 1)
    assert found.difference.mean == pytest.approx(0.0)
