import numpy as np
import pytest

from lodbrain.contrast_analysis.shrinkage import PRIOR_VOXELS, shrunk_means, shrunk_variances


def test_few_voxels_are_drawn_to_their_group_and_many_are_not() -> None:
    means, own = shrunk_means(
        np.array([100.0, 104, 96, 130]), np.full(4, 100.0), np.array([1e5, 1e5, 1e5, 1.0]), least_difference=1
    )
    np.testing.assert_allclose(means[:3], [100, 104, 96], atol=0.01)
    assert 100 < means[3] < 110  # of 130 +- 10, beside structures that differ by 4
    assert own[3] < 0.4 < 0.99 < own[0]


def test_a_group_without_voxels_is_left_alone() -> None:
    means, own = shrunk_means(np.array([1.0, 2.0]), np.ones(2), np.zeros(2), least_difference=1)
    assert (means.tolist(), own.tolist()) == ([1.0, 2.0], [0.0, 0.0])


def test_variances_of_few_voxels_are_those_of_the_group() -> None:
    many, some, none = shrunk_variances(np.array([9.0, 100.0, 0.0]), np.array([1e7, PRIOR_VOXELS, 0.0]))
    assert (many, none) == pytest.approx((9, 9), rel=1e-3)
    assert some == pytest.approx((100 + 9) / 2, rel=1e-3)
    np.testing.assert_array_equal(shrunk_variances(np.array([4.0, 8.0]), np.zeros(2)), 6)
