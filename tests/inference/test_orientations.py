"""A head turned to any orientation gets the same labels: the bundled model at 4 mm, which takes a second each."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

import lodbrain

Head = tuple[NDArray[np.float32], NDArray[np.float64]]


@pytest.fixture(scope="module")
def upright(template_4mm: Head) -> NDArray[np.uint8]:
    """Its labels as it comes."""
    return lodbrain.segment(template_4mm[0], affine=template_4mm[1]).labels


def test_the_brain_is_found(upright: NDArray[np.uint8]) -> None:
    litres = np.isin(upright, [0, 24], invert=True).sum() * 4**3 / 1e6
    assert 1.2 < litres < 2.2  # the template is larger than a brain: 1.9 l


@pytest.mark.slow
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_all_48_orientations_give_identical_labels(
    axes: tuple[int, int, int], template_4mm: Head, upright: NDArray[np.uint8]
) -> None:
    data, affine = template_4mm
    for signs in product((1, -1), repeat=3):
        turned, moved = _turn(data, affine, axes, signs)
        labels = lodbrain.segment(turned, affine=moved).labels
        np.testing.assert_array_equal(labels, _turn(upright, affine, axes, signs)[0])


def _turn(
    data: NDArray, affine: NDArray[np.float64], axes: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[NDArray, NDArray[np.float64]]:
    """The array with its axes permuted and flipped, and the affine that keeps every voxel where it is in the world."""
    out = np.transpose(data, axes)[tuple(slice(None, None, s) for s in signs)]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        to_old[old, new] = sign
        to_old[old, 3] = data.shape[old] - 1 if sign < 0 else 0
    return np.ascontiguousarray(out), affine @ to_old
