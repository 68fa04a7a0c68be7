"""MGH and MGZ headers."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.freesurfer.mghformat import header_dtype

from lodbrain.errors import InputError
from lodbrain.images import read_image, write_nifti


def changed(path: Path, **fields) -> Path:
    """The file with fields of its header overwritten."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = np.frombuffer(content, header_dtype, count=1)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize("name", ["scan.mgh", "scan.mgz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_mgh_is_read_as_nibabel_wrote_it(name, dtype, files):
    image = read_image(files.mgh(name, files.voxels(dtype)))
    np.testing.assert_array_equal(image.data, files.voxels())
    np.testing.assert_allclose(image.affine, files.affine, atol=1e-5)
    assert len(image.notes) == 1


def test_oblique_affine_is_nibabels(files):
    affine = np.array([[0.6, -0.8, 0, 5], [0.48, 0.36, -0.8, 7], [0.64, 0.48, 0.6, 9], [0, 0, 0, 1]])
    np.testing.assert_allclose(read_image(files.mgh(affine=affine)).affine, affine, atol=1e-5)


def test_uint16_is_read(files):
    image = read_image(changed(files.mgh(), type=10))
    np.testing.assert_array_equal(image.data, files.voxels())


def test_asked_frame_is_read(files):
    data = files.voxels(shape=(6, 7, 8, 3))
    np.testing.assert_array_equal(read_image(files.mgh(data=data), frame=2).data, data[..., 2])


def test_result_gets_qform_and_sform_from_the_voxel_to_ras_matrix(files):
    image = read_image(files.mgh())
    write_nifti(files.folder / "out.nii.gz", image.data, image)
    result = nib.load(files.folder / "out.nii.gz")
    (qform, qcode), (sform, scode) = result.get_qform(coded=True), result.get_sform(coded=True)
    assert (qcode, scode) == (1, 1)
    np.testing.assert_allclose(qform, files.affine, atol=1e-5)
    np.testing.assert_allclose(sform, files.affine, atol=1e-5)
    assert result.header.get_xyzt_units()[0] == "mm"


def test_unstated_orientation_is_noted(files):
    image = read_image(changed(files.mgh(), goodRASFlag=0))
    assert "left and right are unknown" in image.notes[0]
    np.testing.assert_array_equal(image.affine[:3, :3], [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])


def test_tags_behind_the_voxels_are_usual(files):
    path = files.mgh()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(500)))
    assert len(read_image(path).notes) == 1


REFUSED = {
    "colour": ("rgb", {"type": 11}),
    "unknown type": ("unknown-dtype", {"type": 99}),
    "no frames": ("bad-header", {"dims": (6, 7, 8, 0)}),
    "negative size": ("bad-header", {"dims": (6, -7, 8, 1)}),
    "flat": ("2d", {"dims": (6 * 7, 8, 1, 1)}),
    "4D": ("4d", {"dims": (6, 7, 4, 2)}),
    "terabytes": ("truncated", {"dims": (1000, 1000, 1000, 1000)}),
    "too many voxels": ("too-large", {"dims": (2**31 - 1, 2**31 - 1, 2**31 - 1, 1)}),
    "no voxel size": ("bad-affine", {"delta": 0}),
    "voxel size NaN": ("bad-affine", {"delta": np.nan}),
    "centre a signalling NaN": ("bad-affine", {"Pxyz_c": np.array([0x7F800001] * 3, ">i4").view(">f4")}),
    "parallel axes": ("bad-affine", {"Mdc": np.ones((3, 3))}),
    "huge voxels": ("odd-voxels", {"delta": 100}),
    "another version": ("wrong-format", {"version": 2}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_header_is_refused(case, files):
    code, fields = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read_image(changed(files.mgh(), **fields))
    assert caught.value.code == code


@pytest.mark.parametrize("length", [3, 100, 283, 300])
def test_truncated_mgh_is_refused(length, files):
    path = files.mgh("scan.mgh")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == ("wrong-format" if length == 3 else "truncated")
