"""Orientation and extent, undone exactly."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodbrain.images import Image, to_ras

ORIENTATIONS = [
    (order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product([False, True], repeat=3)
]


def rotation(*degrees: float) -> np.ndarray:
    """Turns about x, y and z in that order."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        cosine, sine = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = cosine, -sine, sine, cosine
        matrix = turn @ matrix
    return matrix


def oblique(*degrees: float, sides=(1.0, 1.1, 1.3)) -> Image:
    affine = np.eye(4)
    affine[:3, :3] = rotation(*degrees) * sides
    affine[:3, 3] = -10, 5, 20
    return Image(np.random.default_rng(0).random((4, 5, 6)), affine)


def reordered(image: Image, order, flips) -> Image:
    """The same scan stored in another order, made with nibabel as the independent witness."""
    codes = np.array([[axis, -1 if flip else 1] for axis, flip in zip(order, flips, strict=True)])
    data = nib.orientations.apply_orientation(image.data, codes)
    affine = image.affine @ nib.orientations.inv_ornt_aff(codes, image.shape)
    return Image(data, affine)


ANGLES = {
    "straight": (0, 0, 0),
    "slightly oblique": (5, -8, 12),
    "strongly oblique": (30, 20, -35),
    "45 degrees about one axis": (0, 0, 45),
    "45 degrees about another": (45, 0, 0),
    "45 degrees about all": (45, 45, 45),
    "diagonal": (45, np.degrees(np.arctan(np.sqrt(0.5))), 0),
}


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_all_48_orientations_become_one_and_are_undone(angles, order, flips):
    original = oblique(*ANGLES[angles])
    expected, _ = to_ras(original)
    stored = reordered(original, order, flips)
    ras, turned = to_ras(stored)
    np.testing.assert_array_equal(ras.data, expected.data)
    np.testing.assert_allclose(ras.affine, expected.affine, atol=1e-12)
    np.testing.assert_array_equal(turned.undo(ras.data), stored.data)
    channels = np.stack([ras.data, -ras.data], axis=-1)
    np.testing.assert_array_equal(turned.undo(channels), np.stack([stored.data, -stored.data], axis=-1))


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_every_voxel_stays_where_it_is_in_the_head(order, flips):
    stored = reordered(oblique(5, -8, 12), order, flips)
    ras, _ = to_ras(stored)
    for index in [(0, 0, 0), (3, 0, 2), (1, 4, 5)]:
        value = oblique(5, -8, 12).data[index]
        (here,) = np.argwhere(stored.data == value)
        (there,) = np.argwhere(ras.data == value)
        np.testing.assert_allclose(stored.affine @ [*here, 1], ras.affine @ [*there, 1], atol=1e-9)


def test_straight_scan_in_ras_is_left_alone():
    original = oblique(0, 0, 0)
    ras, turned = to_ras(original)
    assert (turned.axes, turned.flipped) == ((0, 1, 2), (False, False, False))
    np.testing.assert_array_equal(ras.affine, original.affine)


def test_axes_point_to_the_right_the_front_and_up():
    affine = np.array([[0, 0, -2.0, 9], [-1, 0, 0, 9], [0, 3, 0, 9], [0, 0, 0, 1]])
    ras, _ = to_ras(Image(np.zeros((4, 5, 6)), affine))
    assert ras.shape == (6, 4, 5)
    np.testing.assert_array_equal(ras.affine[:3, :3], np.diag([2, 1, 3]))
    np.testing.assert_array_equal(ras.affine[:3, 3], [9 - 2 * 5, 9 - 3, 9])


def test_reorienting_copies_nothing():
    original = oblique(0, 0, 180)
    ras, turned = to_ras(original)
    assert np.shares_memory(ras.data, original.data)
    assert np.shares_memory(turned.undo(ras.data), original.data)


def test_float32_rounding_at_45_degrees_does_not_change_the_choice():
    original = oblique(0, 0, 45)
    _, turned = to_ras(original)
    _, rounded = to_ras(Image(original.data, original.affine.astype(np.float32)))
    assert rounded == turned


def test_sheared_grid_gets_one_direction_per_axis():
    affine = np.array([[1, 0.9, 0.9, 0], [0, 0.5, 0.2, 0], [0, 0, 0.4, 0], [0, 0, 0, 1.0]])
    ras, turned = to_ras(Image(np.zeros((4, 5, 6)), affine))
    assert turned.axes == (0, 1, 2)
    assert ras.shape == (4, 5, 6)


@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), sides=st.tuples(*[st.floats(0.2, 6)] * 3), left=st.booleans())
def test_any_oblique_grid_gives_a_proper_assignment(angles, sides, left):
    image = oblique(*angles, sides=(-sides[0] if left else sides[0], *sides[1:]))
    ras, turned = to_ras(image)
    assert sorted(turned.axes) == [0, 1, 2]
    assert (np.diagonal(ras.affine[:3, :3]) > -1e-9).all()
    np.testing.assert_array_equal(turned.undo(ras.data), image.data)
    np.testing.assert_allclose(ras.voxel_volume_mm3, image.voxel_volume_mm3)
