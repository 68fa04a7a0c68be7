import numpy as np
import pytest

from lodbrain.labelmaps.balance import LARGEST_BIAS, rebalance
from lodbrain.labelmaps.boundaries import MARGIN_EDGES


def margins(pairs: dict[tuple[int, int], float], voxels: int = 1000) -> np.ndarray:
    """(3, 3, 64) int64: `voxels` of the first label that the second gets when it gains the margin."""
    table = np.zeros((3, 3, len(MARGIN_EDGES)), np.int64)
    for pair, margin in pairs.items():
        table[pair][np.searchsorted(MARGIN_EDGES, margin)] = voxels
    return table


def test_bias_reaches_just_to_the_voxels_that_are_missing() -> None:
    voxels = np.array([10_000, 2000, 0])
    target = np.array([9500.0, 2500.0, 0.0])
    bias = rebalance(voxels, margins({(0, 1): 0.1, (0, 2): 0.2}), target=target, bias=np.zeros(3, np.float32))
    assert bias[0] == 0
    assert bias[1] == pytest.approx(0.1, abs=0.01)


def test_bias_goes_on_from_the_present_one() -> None:
    voxels, target = np.array([10_000, 2000, 0]), np.array([10_500.0, 1500.0, 0.0])
    start = np.array([0, 0.2, 0], np.float32)
    bias = rebalance(voxels, margins({(1, 0): 0.05}), target=target, bias=start)
    assert bias[1] == pytest.approx(0.15, abs=0.01)


def test_volumes_that_are_right_need_no_change() -> None:
    voxels = np.array([10_000, 2000, 300])
    start = np.array([0, 0.1, -0.1], np.float32)
    same = rebalance(voxels, margins({(0, 1): 0.1, (1, 2): 0.2}), target=voxels.astype(float), bias=start)
    np.testing.assert_allclose(same, start)


def test_what_cannot_be_reached_ends_at_the_largest_bias() -> None:
    voxels, target = np.array([10_000, 10, 0]), np.array([5000.0, 5010.0, 0.0])
    bias = rebalance(voxels, margins({}), target=target, bias=np.zeros(3, np.float32))
    assert abs(bias[1] - bias[0]) <= 2 * LARGEST_BIAS
    assert np.isfinite(bias).all()
