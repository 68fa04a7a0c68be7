"""Agreement of volumes, by hand."""

import math

import numpy as np
import pytest

from lodbrain.evaluation.agreement import bland_altman, retest


def test_bias_and_limits_by_hand() -> None:
    found = bland_altman(np.array([101.0, 203.0, 302.0, 402.0]), np.array([100.0, 200.0, 300.0, 400.0]))
    assert found.bias_mm3 == 2
    sd = math.sqrt(2 / 3)
    assert (found.low_mm3, found.high_mm3) == pytest.approx((2 - 1.959964 * sd, 2 + 1.959964 * sd), abs=1e-5)
    assert found.bias_error_mm3 == pytest.approx(sd / 2)
    assert found.limit_error_mm3 == pytest.approx(sd * math.sqrt(1 / 4 + 1.959964**2 / 6), abs=1e-5)
    assert found.bias_percent == pytest.approx(np.mean([100 / 100.5, 300 / 201.5, 200 / 301, 200 / 401]))


def test_structures_in_neither_and_volumes_that_are_missing_do_not_count() -> None:
    found = bland_altman(np.array([10.0, 0.0, np.nan]), np.array([12.0, 0.0, 5.0]))
    assert (found.n, found.bias_mm3) == (1, -2)
    assert math.isnan(found.low_mm3)
    assert bland_altman(np.array([]), np.array([])).n == 0


def test_repeatability_by_hand() -> None:
    found = retest({"a": [10.0, 14.0], "b": [20.0, 22.0], "once": [99.0]})
    assert found is not None
    within = (8 + 2) / 2  # sums of squares 8 and 2, one degree of freedom each
    assert (found.subjects, found.scans, found.mean_mm3) == (2, 4, 16.5)
    assert found.within_sd_mm3 == pytest.approx(math.sqrt(within))
    assert found.repeatability_mm3 == pytest.approx(1.959964 * math.sqrt(2 * within), abs=1e-5)
    assert found.cv_percent == pytest.approx(100 * math.sqrt((8 / 144 + 2 / 441) / 2))
    between = 2 * (4.5**2 + 4.5**2)
    assert found.icc == pytest.approx((between - within) / (between + within))


def test_unequal_numbers_of_scans_are_weighed() -> None:
    rng = np.random.default_rng(0)
    truth = {f"s{n}": 1000 + 100 * rng.normal() for n in range(200)}
    scans = {
        name: [volume + 20 * rng.normal() for _ in range(2 + n % 3)] for n, (name, volume) in enumerate(truth.items())
    }
    found = retest(scans)
    assert found is not None
    assert found.within_sd_mm3 == pytest.approx(20, rel=0.1)
    assert found.icc == pytest.approx(100**2 / (100**2 + 20**2), abs=0.02)


def test_without_a_second_scan_there_is_nothing_to_say() -> None:
    assert retest({"a": [1.0], "b": [2.0]}) is None
    one = retest({"a": [1.0, 3.0]})
    assert one is not None
    assert math.isnan(one.icc)
