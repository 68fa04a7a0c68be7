"""Results as MGZ files."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lodbrain.images import Image, read_image, read_labels
from lodbrain.images.io import write_image

#: Oblique, left-handed, anisotropic.
AFFINE = np.array([[0.6, -0.64, 0, 5], [0.48, 0.288, -0.96, 7], [0.64, 0.384, 0.72, 9], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_nibabel_and_our_reader_give_back_what_was_written(dtype: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 200, (6, 7, 40)).astype(dtype)
    write_image(tmp_path / "a.mgz", data, Image(data, AFFINE))
    theirs = nib.load(tmp_path / "a.mgz")
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), data)
    assert theirs.get_data_dtype() == np.dtype(dtype).newbyteorder(">")
    np.testing.assert_allclose(theirs.affine, AFFINE, atol=1e-5)
    ours = read_image(tmp_path / "a.mgz") if dtype == "f4" else read_labels(tmp_path / "a.mgz")
    np.testing.assert_array_equal(ours.data, data)
    np.testing.assert_allclose(ours.affine, AFFINE, atol=1e-5)


def test_four_dimensional_posteriors_and_float16(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((6, 7, 8, 3)).astype(np.float16)
    write_image(tmp_path / "a.mgz", data, Image(data, AFFINE))
    theirs = nib.load(tmp_path / "a.mgz")
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), data.astype(np.float32))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for name in ("a.mgz", "b.mgz"):
        write_image(tmp_path / name, data, Image(data, AFFINE))
    assert (tmp_path / "a.mgz").read_bytes() == (tmp_path / "b.mgz").read_bytes()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("a.img", (2, 3, 4), "i2", "must end in"),
        ("a.mgz", (2, 3, 5), "i2", "must be on the grid"),
        ("a.mgz", (2, 3, 4), "i8", "must fit into"),
    ],
)
def test_what_mgz_cannot_hold_is_refused(
    name: str, shape: tuple[int, ...], dtype: str, words: str, tmp_path: Path
) -> None:
    like = Image(np.zeros((2, 3, 4), np.int16), AFFINE)
    with pytest.raises(ValueError, match=words):
        write_image(tmp_path / name, np.zeros(shape, dtype), like)
    assert not list(tmp_path.iterdir())
