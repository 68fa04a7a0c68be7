from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from lodbrain.images.canonical import canonical
from lodbrain.images.image import Image
from lodbrain.images.nifti import scanner_header

TURN = np.deg2rad(20)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0.1, 0, 1]])


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_order_is_that_of_nibabel(axes: tuple[int, int, int], signs: tuple[int, int, int]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (OBLIQUE @ np.diag(signs))[:, axes] * [0.8, 1.0, 1.3]
    affine[:3, 3] = -70, 30, 12
    data = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine))
    image, turn = canonical(Image(data, affine))
    np.testing.assert_array_equal(image.data, expected.get_fdata())
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-12)
    np.testing.assert_array_equal(turn.undo(image.data), data)


def test_an_image_in_this_order_keeps_its_header() -> None:
    affine = np.diag([0.7, 0.7, 1.2, 1.0])
    image = Image(np.zeros((3, 4, 5), np.float32), affine, scanner_header(affine))
    same, turn = canonical(image)
    assert same is image
    assert turn.apply(image.data).shape == (3, 4, 5)
