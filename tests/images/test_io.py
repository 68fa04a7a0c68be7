"""Writing results on the input's grid, and scans from arrays."""

from __future__ import annotations

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest

from lodbrain.errors import InputError, OutputError
from lodbrain.images import Image, read_array, read_image, read_labels, write_nifti

GRID_FIELDS = [
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("qform_code", "sform_code"), list(itertools.product([0, 1, 4], [0, 2, 3])))
@pytest.mark.parametrize("units", [0, 2, 10])
def test_result_keeps_the_inputs_grid(version, big, qform_code, sform_code, units, files):
    path = files.nifti(
        version=version,
        big=big,
        qform_code=qform_code,
        sform_code=sform_code,
        xyzt_units=units,
        qoffset_x=31,
        descrip=b"Jane Doe",
        scl_slope=2,
    )
    image = read_image(path)
    write_nifti(files.folder / "out.nii.gz", files.voxels(), image)
    before, after = nib.load(path), nib.load(files.folder / "out.nii.gz")
    for field in GRID_FIELDS:
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    np.testing.assert_array_equal(after.header["pixdim"][:4], before.header["pixdim"][:4])
    np.testing.assert_array_equal(after.affine, before.affine)
    content = gzip.decompress((files.folder / "out.nii.gz").read_bytes())
    raw = type(before.header)(content[: 348 if version == 1 else 540])
    assert raw.endianness == "<"
    assert (raw["scl_slope"], raw["scl_inter"], raw["descrip"]) == (1, 0, b"")
    np.testing.assert_array_equal(np.asarray(after.dataobj), files.voxels())


def test_result_in_metres_keeps_metres(files):
    path = files.nifti(affine=np.diag([1e-3, 1e-3, 1e-3, 1]), xyzt_units=1)
    write_nifti(files.folder / "out.nii", files.voxels(), read_image(path))
    result = nib.load(files.folder / "out.nii")
    np.testing.assert_array_equal(result.affine, nib.load(path).affine)
    assert result.header.get_xyzt_units()[0] == "meter"


def test_result_of_a_pair_is_a_single_file(files):
    content = files.nifti_bytes(magic=b"ni1", vox_offset=0)
    files.raw("scan.hdr", content[:348])
    files.raw("scan.img", content[352:])
    write_nifti(files.folder / "out.nii", files.voxels(), read_image(files.folder / "scan.img"))
    np.testing.assert_array_equal(np.asarray(nib.load(files.folder / "out.nii").dataobj), files.voxels())


def test_corrected_pixdim_is_written(files):
    image = read_image(files.nifti(pixdim=np.zeros(8)))
    write_nifti(files.folder / "out.nii", files.voxels(), image)
    result = nib.load(files.folder / "out.nii")
    np.testing.assert_allclose(result.header.get_zooms(), [1, 1.1, 1.2])
    assert (result.header["qform_code"], result.header["sform_code"]) == (1, 1)


def test_unusable_qform_is_not_written(files):
    write_nifti(files.folder / "out.nii", files.voxels(), read_image(files.nifti(quatern_c=np.nan)))
    header = nib.load(files.folder / "out.nii").header
    assert (header["qform_code"], header["quatern_c"], header["sform_code"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("u1", "u1"), ("i2", "i2"), ("u2", "u2"), ("i4", "i4"), ("f4", "f4"), ("f8", "f8"), ("f2", "f4"), ("?", "u1")],
)
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
@pytest.mark.parametrize("shape", [(6, 7, 40), (6, 7, 40, 3)])
@pytest.mark.parametrize("order", ["C", "F", "view"])
def test_written_values_are_read_back(dtype, stored, name, shape, order, files):
    image = Image(np.zeros((6, 7, 40), np.float32), files.affine)
    data = files.voxels(dtype, shape)
    given = data[::-1].copy()[::-1] if order == "view" else np.array(data, order=order)
    write_nifti(files.folder / name, given, image, description="lodbrain")
    result = nib.load(files.folder / name)
    assert result.get_data_dtype() == np.dtype(stored)
    assert result.header["descrip"] == b"lodbrain"
    np.testing.assert_array_equal(np.asarray(result.dataobj), data)
    np.testing.assert_allclose(result.affine, files.affine, atol=1e-6)


def test_written_file_is_read_without_notes_on_the_file(files):
    image = read_image(files.nifti())
    write_nifti(files.folder / "out.nii.gz", files.voxels(), image)
    again = read_image(files.folder / "out.nii.gz")
    assert again.notes == image.notes
    np.testing.assert_array_equal(again.affine, image.affine)
    np.testing.assert_array_equal(read_labels(files.folder / "out.nii.gz").data, files.voxels())


def test_same_content_gives_the_same_bytes_whatever_name_time_and_order(files, monkeypatch):
    image = read_image(files.nifti())
    write_nifti(files.folder / "a.nii.gz", files.voxels(), image)
    monkeypatch.setattr("time.time", lambda: 12345.0)
    write_nifti(files.folder / "b.nii.gz", np.asfortranarray(files.voxels()), image)
    content = (files.folder / "a.nii.gz").read_bytes()
    assert content == (files.folder / "b.nii.gz").read_bytes()
    assert content[3:8] == bytes(5), "no name, no time"
    assert gzip.decompress(content)[352:] == files.voxels().astype("<i2").tobytes("F")


def test_grid_of_the_image_is_not_changed_by_writing(files):
    image = read_image(files.nifti())
    before = image.header.binaryblock
    write_nifti(files.folder / "out.nii", files.voxels("f4", (6, 7, 8, 2)), image)
    assert image.header.binaryblock == before


@pytest.mark.parametrize("shape", [(7, 6, 8), (6, 7), (6, 7, 8, 1, 2)])
def test_data_on_another_grid_is_refused(shape, files):
    with pytest.raises(ValueError, match="grid"):
        write_nifti(files.folder / "out.nii", files.voxels(shape=shape), read_image(files.nifti()))


@pytest.mark.parametrize("name", ["out.mgz", "out.gz", "out"])
def test_other_names_are_refused(name, files):
    with pytest.raises(ValueError, match="must end"):
        write_nifti(files.folder / name, files.voxels(), read_image(files.nifti()))


def test_missing_folder_is_an_output_error(files):
    with pytest.raises(OutputError):
        write_nifti(files.folder / "none" / "out.nii", files.voxels(), read_image(files.nifti()))


def test_long_description_is_cut_between_characters(files):
    image = read_image(files.nifti())
    write_nifti(files.folder / "out.nii", files.voxels(), image, description="x" + "ü" * 60)
    assert nib.load(files.folder / "out.nii").header["descrip"].item().decode() == "x" + "ü" * 39


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f2", "f4", "f8"])
def test_array_becomes_a_scan_and_stays_as_it_was(dtype, files):
    data = files.voxels(dtype)
    copy = data.copy()
    image = read_array(data, files.affine)
    np.testing.assert_array_equal(image.data, copy.astype(np.float32))
    np.testing.assert_array_equal(data, copy)
    assert image.data.dtype == np.float32
    assert image.header is None


@pytest.mark.parametrize(
    ("data", "affine", "code"),
    [
        (np.zeros((5, 5, 5)), np.eye(4), "constant"),
        (np.zeros((5, 5)), np.eye(4), "bad-array"),
        (np.zeros((5, 5, 1)), np.eye(4), "bad-array"),
        (np.zeros((5, 5, 5, 2)), np.eye(4), "bad-array"),
        (np.zeros((5, 5, 5), complex), np.eye(4), "bad-array"),
        (np.ones((5, 5, 5)), np.eye(3), "bad-affine"),
        (np.ones((5, 5, 5)), np.zeros((4, 4)), "bad-affine"),
        (np.ones((5, 5, 5)), np.eye(4) * 100, "odd-voxels"),
        (np.full((5, 5, 5), np.nan), np.eye(4), "not-finite"),
    ],
)
def test_array_that_is_no_scan_is_refused(data, affine, code):
    with pytest.raises(InputError) as caught:
        read_array(data, affine)
    assert caught.value.code == code


HEADS = ["philips_1mm_T1w", "stripped_0.8mm_T1w", "studyforrest_0.67mm_T1w", "thick_1x1x2mm_T2w"]


@pytest.mark.data
@pytest.mark.parametrize("name", HEADS)
def test_real_scan_is_read_without_notes_and_written_on_its_grid(name, data_dir, tmp_path):
    path = data_dir / "heads" / f"{name}.nii.gz"
    image = read_image(path)
    assert image.notes == ()
    write_nifti(tmp_path / "out.nii.gz", image.data > 0, image)
    original, result = nib.load(path), nib.load(tmp_path / "out.nii.gz")
    for field in GRID_FIELDS:
        np.testing.assert_array_equal(result.header[field], original.header[field], err_msg=field)
    np.testing.assert_array_equal(image.data, np.asarray(original.dataobj, np.float32))
