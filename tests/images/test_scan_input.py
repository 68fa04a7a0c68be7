from pathlib import Path

import nibabel
import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images.scan_input import is_nibabel, read_nibabel, to_nibabel

AFFINE = np.array([[0, 0, 1.5, -3], [-1.2, 0, 0, 4], [0, 0.9, 0, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 900, (6, 7, 8)).astype(np.float32)


def test_voxels_and_affine_are_the_image_s(values: np.ndarray) -> None:
    image = read_nibabel(nibabel.Nifti1Image(values, AFFINE))
    np.testing.assert_array_equal(image.data, values)
    np.testing.assert_allclose(image.affine, AFFINE)


def test_slope_and_intercept_are_applied(values: np.ndarray, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(values, AFFINE, dtype=np.int16), tmp_path / "a.nii")
    np.testing.assert_allclose(read_nibabel(nibabel.load(tmp_path / "a.nii")).data, values, atol=0.02)


def test_a_frame_is_chosen_of_several(values: np.ndarray) -> None:
    image = nibabel.Nifti1Image(np.stack([values, values + 1], axis=-1), AFFINE)
    np.testing.assert_array_equal(read_nibabel(image, frame=1).data, values + 1)
    with pytest.raises(InputError, match="2 volumes"):
        read_nibabel(image)
    with pytest.raises(InputError, match="no frame 2"):
        read_nibabel(image, frame=2)
    np.testing.assert_array_equal(read_nibabel(nibabel.Nifti1Image(values[..., None], AFFINE)).data, values)


def test_an_image_without_affine_is_refused(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="no affine"):
        read_nibabel(nibabel.Nifti1Image(values, None))


def test_what_is_no_image_of_nibabel_is_told_apart(values: np.ndarray) -> None:
    assert is_nibabel(nibabel.MGHImage(values, AFFINE))
    assert not is_nibabel(values) and not is_nibabel("scan.nii.gz")


def test_labels_become_an_image_in_mm() -> None:
    image = to_nibabel(np.full((2, 3, 4), 7, np.uint8), AFFINE)
    assert (image.get_data_dtype(), image.header.get_xyzt_units()[0]) == (np.uint8, "mm")
    np.testing.assert_allclose(image.affine, AFFINE)
