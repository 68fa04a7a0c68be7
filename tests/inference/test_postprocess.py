import numpy as np
import pytest

from lodbrain.inference.postprocess import keep_largest


@pytest.fixture
def volume() -> tuple[np.ndarray, np.ndarray]:
    """Class 1 in pieces of 27, 8 and 1 voxels, class 4 in pieces of 8 and 2; next best is 7, 0 for the single voxel."""
    classes, second = np.zeros((12, 10, 8), np.uint8), np.full((12, 10, 8), 7, np.uint8)
    classes[1:4, 1:4, 1:4] = 1
    classes[6:8, 1:3, 1:3] = 1
    classes[10, 8, 6], second[10, 8, 6] = 1, 0
    classes[1:3, 6:8, 1:3] = 4
    classes[5, 6, 1:3] = 4
    return classes, second


def test_islands_get_their_next_best_class(volume: tuple[np.ndarray, np.ndarray]) -> None:
    classes, second = volume
    expected = classes.copy()
    expected[6:8, 1:3, 1:3] = 7
    expected[10, 8, 6] = 0
    expected[5, 6, 1:3] = 7
    assert keep_largest(classes, second) == 11
    np.testing.assert_array_equal(classes, expected)


def test_left_classes_keep_all_their_pieces(volume: tuple[np.ndarray, np.ndarray]) -> None:
    classes, second = volume
    before = classes == 4
    assert keep_largest(classes, second, leave=(4,)) == 9
    np.testing.assert_array_equal(classes == 4, before)
    assert (classes == 1).sum() == 27


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0, 0, 0] = classes[1, 1, 1] = classes[2, 2, 2] = 3
    assert keep_largest(classes, np.zeros_like(classes)) == 0
    assert (classes == 3).sum() == 3


def test_background_may_lie_in_several_pieces() -> None:
    classes = np.zeros((5, 5, 5), np.uint8)
    classes[1:4, 1:4, 1:4] = 2
    classes[2, 2, 2] = 0
    assert keep_largest(classes, np.full_like(classes, 9)) == 0
    assert (classes == 0).sum() == 99


def test_empty_volume_stays_empty() -> None:
    classes = np.zeros((3, 4, 5), np.uint8)
    assert keep_largest(classes, classes.copy()) == 0
    assert not classes.any()
