import numpy as np
import pytest

from lodbrain.inference.counts import indices_of, occupied, voxels_of_class


@pytest.mark.parametrize("empty", [False, True])
def test_counts_and_indices_in_the_box_are_those_of_the_whole(empty: bool) -> None:
    classes = np.zeros((7, 8, 9), np.uint8)
    if not empty:
        classes[2:5, 1:8, 3:4] = np.random.default_rng(0).integers(0, 5, (3, 7, 1))
    np.testing.assert_array_equal(voxels_of_class(classes, 6), np.bincount(classes.ravel(), minlength=6))
    index = np.array([9, 1, 2, 3, 4])
    np.testing.assert_array_equal(indices_of(classes, index), index[classes])


def test_occupied_box_has_a_margin_within_the_volume() -> None:
    classes = np.zeros((7, 8, 9), np.uint8)
    classes[3, 7, 1] = classes[4, 5, 1] = 1
    assert occupied(classes) == (slice(3, 5), slice(5, 8), slice(1, 2))
    assert occupied(classes, margin=2) == (slice(1, 7), slice(3, 8), slice(0, 4))
    assert classes[occupied(np.zeros_like(classes), margin=2)].size == 0
