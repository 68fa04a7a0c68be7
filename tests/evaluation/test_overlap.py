"""Overlap of masks, on counts that can be done by hand."""

import math

import numpy as np
import pytest

from lodbrain.evaluation.overlap import Counts, contingency, count, counts_of


def test_dice_and_volume_similarity_by_hand() -> None:
    counts = Counts(pred=6, ref=10, both=4)
    assert counts.dice == pytest.approx(8 / 16)
    assert counts.volume_similarity == pytest.approx(1 - 4 / 16)


def test_identical_and_disjoint_masks() -> None:
    assert Counts(5, 5, 5).dice == Counts(5, 5, 5).volume_similarity == 1
    assert Counts(5, 5, 0).dice == 0
    assert Counts(5, 5, 0).volume_similarity == 1  # volumes agree, wherever they lie


def test_one_empty_mask_scores_zero_and_two_have_no_value() -> None:
    for counts in (Counts(0, 7, 0), Counts(7, 0, 0)):
        assert (counts.dice, counts.volume_similarity) == (0, 0)
    assert math.isnan(Counts(0, 0, 0).dice)
    assert math.isnan(Counts(0, 0, 0).volume_similarity)


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        count(np.ones(2, bool), np.ones(3, bool))


def test_contingency_counts_what_masks_count() -> None:
    rng = np.random.default_rng(0)
    pred, ref = rng.integers(0, 5, (2, 7, 8, 9), dtype=np.uint8)
    table = contingency(pred, ref, 5)
    assert table.sum() == pred.size
    for values in ([1], [2, 4], [0, 1, 2, 3, 4]):
        assert counts_of(table, values) == count(np.isin(pred, values), np.isin(ref, values))
