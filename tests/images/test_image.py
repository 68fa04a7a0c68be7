"""`Image`."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from lodbrain.images import Image, read_image


def test_volume_comes_from_the_determinant_where_axes_are_sheared():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[0, 1] = 1
    image = Image(np.zeros((2, 3, 4)), affine)
    assert image.voxel_volume_mm3 == pytest.approx(6)
    np.testing.assert_allclose(image.spacing_mm, [1, np.sqrt(5), 3])


def test_volume_of_a_left_handed_grid_is_positive():
    assert Image(np.zeros((2, 3, 4)), np.diag([-1, 1, 1, 1])).voxel_volume_mm3 == pytest.approx(1)


def test_shape_is_that_of_space():
    assert Image(np.zeros((2, 3, 4, 5)), np.eye(4)).shape == (2, 3, 4)


@pytest.mark.parametrize(("shape", "affine"), [((2, 3), np.eye(4)), ((2, 3, 4), np.eye(3))])
def test_what_is_no_volume_is_refused(shape, affine):
    with pytest.raises(ValueError, match="got"):
        Image(np.zeros(shape), affine)


def test_image_is_frozen():
    image = Image(np.zeros((2, 3, 4)), np.eye(4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.affine = np.eye(4)  # type: ignore[misc]


def test_image_crosses_process_boundaries(files):
    image = read_image(files.nifti())
    copy = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(copy.data, image.data)
    assert copy.header == image.header
    assert copy.notes == image.notes
