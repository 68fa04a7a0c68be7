"""Copies of scans with black outside of a mask: type, scaling and header are those of the scan."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lodbrain.images.io import read_image
from lodbrain.images.masked import read_stored, write_masked

MASK = np.zeros((6, 7, 8), bool)
MASK[1:5, 2:6, 3:7] = True


def masked(scan: Path, name: str = "brain.nii.gz", **options: Any) -> Any:
    """The copy of a scan, as nibabel reads it."""
    target = scan.parent / name
    stored = read_stored(scan, **options)
    write_masked(target, stored, MASK)
    return nib.load(target)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8"])
@pytest.mark.parametrize("big", [False, True])
def test_stored_values_inside_are_kept_and_0_is_outside(files, dtype: str, big: bool) -> None:
    data = files.voxels(dtype)
    brain = masked(files.nifti("scan.nii.gz", data, big=big))
    assert brain.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asanyarray(brain.dataobj), np.where(MASK, data, 0))


@pytest.mark.parametrize("version", [1, 2])
def test_every_field_of_the_header_is_kept(files, version: int) -> None:
    fields = dict(descrip=b"TE=2.9", aux_file=b"x", intent_name=b"T1w", cal_max=900, scl_slope=0.5, scl_inter=-20)
    fields |= dict(slice_code=3, toffset=1.5, sform_code=2, qform_code=1)
    scan = files.nifti("scan.nii", version=version, **fields)
    masked(scan, "brain.nii")
    size = 348 if version == 1 else 540
    assert (files.folder / "brain.nii").read_bytes()[:size] == scan.read_bytes()[:size]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_mgz_stays_mgz(files, dtype: str) -> None:
    scan = files.mgh(data=files.voxels(dtype))
    brain = masked(scan, "brain.mgz")
    assert brain.get_data_dtype() == np.dtype(dtype).newbyteorder(">")
    np.testing.assert_array_equal(np.asanyarray(brain.dataobj), np.where(MASK, files.voxels(dtype), 0))
    np.testing.assert_array_equal(brain.affine, nib.load(scan).affine)  # type: ignore[attr-defined]


def test_formats_can_be_changed(files) -> None:
    from_mgh = masked(files.mgh(), "a.nii.gz")
    np.testing.assert_array_equal(from_mgh.get_fdata(), np.where(MASK, files.voxels(), 0))
    assert from_mgh.get_data_dtype() == np.int16
    scaled = masked(files.nifti("b.nii", files.voxels("f8"), scl_slope=2, scl_inter=0), "b.mgz")
    np.testing.assert_array_equal(scaled.get_fdata(), np.where(MASK, 2.0 * files.voxels(), 0))
    unsigned = masked(files.nifti("c.nii", files.voxels("u4")), "c.mgz")
    np.testing.assert_array_equal(unsigned.get_fdata(), np.where(MASK, files.voxels(), 0))


def test_same_input_gives_the_same_bytes(files) -> None:
    scan = files.nifti()
    masked(scan, "a.nii.gz"), masked(scan, "b.nii.gz")
    content = (files.folder / "a.nii.gz").read_bytes()
    assert content == (files.folder / "b.nii.gz").read_bytes()
    assert len(gzip.decompress(content)) == 352 + 2 * MASK.size


def test_image_is_that_of_read_image(files) -> None:
    for dtype in ("u1", "i2", "f4", "f8"):
        scan = files.nifti("scan.nii.gz", files.voxels(dtype), scl_slope=0.5, scl_inter=3)
        image = read_stored(scan).scan()
        expected = read_image(scan)
        np.testing.assert_array_equal(image.data, expected.data)
        assert image.notes == expected.notes


def test_other_grids_and_names_are_refused(files) -> None:
    stored = read_stored(files.nifti())
    with pytest.raises(ValueError, match="on the grid"):
        write_masked(files.folder / "a.nii", stored, MASK[:-1])
    with pytest.raises(ValueError, match=r"must end in"):
        write_masked(files.folder / "a.img", stored, MASK)
