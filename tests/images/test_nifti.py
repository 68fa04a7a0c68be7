"""NIfTI headers: types, byte order, and where the volume lies."""

from __future__ import annotations

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images import read_image

SMALL_FIELD = "The field of view is small"


def turned(degrees: float) -> np.ndarray:
    """A rotation about an oblique axis, with 1 mm voxels."""
    angle = np.radians(degrees)
    x, y, z = np.array([1, 2, 3]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    affine = np.eye(4)
    affine[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return affine


def dims(*sizes: int) -> list[int]:
    return [len(sizes), *sizes, *[1] * (7 - len(sizes))]


def only(code: str, **fields) -> dict:
    """Fields that leave one of qform and sform."""
    return {"sform_code" if code == "qform_code" else "qform_code": 0, **fields}


REFUSED: dict[str, tuple[str, Callable]] = {
    "14 no dimensions": ("bad-header", lambda f: f.nifti(dim=[0, 6, 7, 8, 1, 1, 1, 1])),
    "14 eight dimensions": ("bad-header", lambda f: f.nifti(dim=[8, 6, 7, 8, 1, 1, 1, 1])),
    "14 size 0": ("bad-header", lambda f: f.nifti(dim=dims(6, 0, 8))),
    "14 negative size": ("bad-header", lambda f: f.nifti(dim=dims(6, -7, 8))),
    "14 no frames": ("bad-header", lambda f: f.nifti(dim=dims(6, 7, 8, 0))),
    "16 type 0": ("unknown-dtype", lambda f: f.nifti(datatype=0)),
    "16 one bit": ("unknown-dtype", lambda f: f.nifti(datatype=1)),
    "16 float128": ("unknown-dtype", lambda f: f.nifti(datatype=1536)),
    "16 type 999": ("unknown-dtype", lambda f: f.nifti(datatype=999)),
    "16 type and bits differ": ("bad-header", lambda f: f.nifti(datatype=2)),
    "20 5D": ("5d", lambda f: f.nifti(data=f.voxels(shape=(6, 7, 8, 1, 3)))),
    "21 2D": ("2d", lambda f: f.nifti(data=f.voxels(shape=(16, 16)))),
    "21 one slice": ("2d", lambda f: f.nifti(data=f.voxels(shape=(16, 16, 1)))),
    "22 RGB": ("rgb", lambda f: f.nifti(datatype=128, bitpix=24)),
    "22 RGBA": ("rgb", lambda f: f.nifti(datatype=2304, bitpix=32)),
    "23 complex64": ("complex", lambda f: f.nifti(data=f.voxels(np.complex64))),
    "23 complex128": ("complex", lambda f: f.nifti(data=f.voxels(np.complex128))),
    "35 sform 0": ("bad-affine", lambda f: f.nifti(srow_x=0, srow_y=0, srow_z=0)),
    "35 sform of rank 2": ("bad-affine", lambda f: f.nifti(srow_x=[0, 1, 0, 0], srow_y=[0, 1, 0, 0])),
    "35 sform NaN": ("bad-affine", lambda f: f.nifti(srow_y=[0, np.nan, 0, 0])),
    "35 sform Inf": ("bad-affine", lambda f: f.nifti(srow_y=[0, 1, 0, np.inf])),
    "35 qform NaN": ("bad-affine", lambda f: f.nifti(**only("qform_code", quatern_b=np.nan))),
    "35 qform no rotation": ("bad-affine", lambda f: f.nifti(**only("qform_code", quatern_b=2))),
    "35 qform with size 0": ("bad-affine", lambda f: f.nifti(**only("qform_code", pixdim=[1, 1, 0, 1, 1, 1, 1, 1]))),
    "35 numbers out of all range": ("bad-affine", lambda f: f.nifti(version=2, srow_x=[1e200, 0, 0, 0])),
    "35 nothing but voxel size NaN": (
        "bad-affine",
        lambda f: f.nifti(qform_code=0, sform_code=0, pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1]),
    ),
    "39 tiny voxels": ("odd-voxels", lambda f: f.nifti(affine=np.diag([0.05, 0.05, 0.05, 1]))),
    "39 huge voxels": ("odd-voxels", lambda f: f.nifti(affine=np.diag([1, 1, 11, 1]))),
    "39 metres that are mm": ("odd-voxels", lambda f: f.nifti(xyzt_units=1)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_header_is_refused(case, files):
    code, make = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read_image(make(files))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


SHEARED = np.array([[1.0, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
CORRECTED: dict[str, tuple[str, Callable]] = {
    "28 big-endian": ("big-endian", lambda f: f.nifti(big=True)),
    "33 forms disagree": ("the sform is used. sform [-1 0 0 30;", lambda f: f.nifti(qoffset_x=35)),
    "33 qform no rotation": ("it was dropped", lambda f: f.nifti(quatern_c=np.nan)),
    "34 both codes 0": ("left and right are unknown", lambda f: f.nifti(qform_code=0, sform_code=0)),
    "34 codes that do not exist": ("sform_code 77 does not exist", lambda f: f.nifti(sform_code=77)),
    "36 shear": ("sheared by 10.3 degrees", lambda f: f.nifti(**only("sform_code", srow_x=SHEARED[0]))),
    "38 metres": ("in metres", lambda f: f.nifti(affine=np.diag([1e-3, 1e-3, 1e-3, 1]), xyzt_units=1)),
    "38 micrometres": ("in micrometres", lambda f: f.nifti(affine=np.diag([800, 800, 800, 1]), xyzt_units=3)),
    "40 thick slices": ("0.5 x 0.5 x 5 mm", lambda f: f.nifti(affine=np.diag([0.5, 0.5, 5, 1]))),
    "41 tiny field of view": (SMALL_FIELD, lambda f: f.nifti()),
    "43 pixdim 0": ("pixdim (0 0 0) is impossible", lambda f: f.nifti(pixdim=np.zeros(8), **only("sform_code"))),
    "43 pixdim NaN": ("is impossible", lambda f: f.nifti(pixdim=[1, np.nan, 1.1, 1.2, 1, 1, 1, 1], qform_code=0)),
    "43 pixdim of another size": ("not the affine's", lambda f: f.nifti(pixdim=[1, 2, 2, 2, 1, 1, 1, 1], qform_code=0)),
    "negative pixdim": ("made positive", lambda f: f.nifti(sform_code=0, pixdim=[-1, 1, -1.1, 1.2, 1, 1, 1, 1])),
}


@pytest.mark.parametrize("case", CORRECTED)
def test_odd_header_is_accepted_and_noted(case, files):
    note, make = CORRECTED[case]
    image = read_image(make(files))
    assert [note in text for text in image.notes].count(True) == 1
    np.testing.assert_array_equal(image.data, files.voxels())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_and_byte_order_gives_the_same_voxels(version, big, dtype, files):
    image = read_image(files.nifti("scan.nii.gz", files.voxels(dtype), version=version, big=big))
    np.testing.assert_array_equal(image.data, files.voxels())
    np.testing.assert_allclose(image.affine, files.affine, atol=1e-6)
    assert image.data.dtype == np.float32
    assert image.data.dtype.isnative


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 180])
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("form", ["qform_code", "sform_code"])
def test_affine_is_nibabels(degrees, left_handed, form, files):
    affine = turned(degrees) @ np.diag([-0.9 if left_handed else 0.9, 0.8, 1.2, 1])
    affine[:3, 3] = 10, -20, 30
    path = files.nifti(affine=affine, **only(form))
    image = read_image(path)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_allclose(image.affine, nib.load(path).affine, atol=1e-6)
    assert len(image.notes) == 1


def test_half_turn_rounded_in_the_quaternion_is_no_disagreement(files):
    """FreeSurfer's LIA: float32 leaves w^2 = 7e-8, which read literally moves a corner by 0.1 mm."""
    affine = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    image = read_image(files.nifti(data=files.voxels(shape=(2, 2, 600)), affine=affine))
    assert not any("qform" in note for note in image.notes)
    np.testing.assert_allclose(read_image(files.nifti(affine=affine, sform_code=0)).affine, affine, atol=1e-6)


def test_sform_wins(files):
    image = read_image(files.nifti(qoffset_x=35))
    assert image.affine[0, 3] == 30
    assert image.header["qoffset_x"] == 35


def test_file_without_orientation_gets_nibabels_affine(files):
    path = files.nifti(qform_code=0, sform_code=0)
    np.testing.assert_allclose(read_image(path).affine, nib.load(path).affine)


@pytest.mark.parametrize(("unit", "per_mm"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3)])
def test_affine_is_in_mm(unit, per_mm, files):
    image = read_image(files.nifti(affine=np.diag([per_mm, per_mm, per_mm, 1]), xyzt_units=unit))
    np.testing.assert_allclose(image.spacing_mm, 1, rtol=1e-6)


def test_translation_is_scaled_with_the_unit(files):
    affine = np.diag([1e-3, 1e-3, 1e-3, 1])
    affine[:3, 3] = 0.05, -0.02, 0.01
    image = read_image(files.nifti(affine=affine, xyzt_units=1))
    np.testing.assert_allclose(image.affine[:3, 3], [50, -20, 10], rtol=1e-6)


def test_odd_voxels_are_accepted_when_asked(files):
    image = read_image(files.nifti(affine=np.diag([0.05, 0.05, 0.05, 1])), allow_odd_voxels=True)
    np.testing.assert_allclose(image.spacing_mm, 0.05)


@pytest.mark.parametrize("side", [0.1, 10])
def test_voxels_at_the_limits_are_accepted(side, files):
    np.testing.assert_allclose(read_image(files.nifti(affine=np.diag([side, side, side, 1]))).spacing_mm, side)


def test_whole_head_at_1_mm_has_no_notes(files):
    assert read_image(files.nifti(data=files.voxels(shape=(100, 110, 120)), affine=np.eye(4))).notes == ()


SCALING = [
    (2, 0, 2, 0, None),
    (-2, 10, -2, 10, "Negative intensities"),
    (0.5, 3, 0.5, 3, None),
    (0, 5, 1, 0, None),
    (np.nan, 5, 1, 0, None),
    (2, np.nan, 2, 0, None),
    (np.inf, 0, 1, 0, "scaling (slope inf"),
    (2, -np.inf, 1, 0, "scaling (slope 2, intercept -inf)"),
]


@pytest.mark.parametrize(("slope", "inter", "used_slope", "used_inter", "note"), SCALING)
@pytest.mark.parametrize("dtype", ["i2", "f4", "f8"])
def test_scaling_is_applied_or_noted(slope, inter, used_slope, used_inter, note, dtype, files):
    image = read_image(files.nifti(data=files.voxels(dtype), scl_slope=slope, scl_inter=inter))
    np.testing.assert_array_equal(image.data, files.voxels().astype(np.float32) * used_slope + used_inter)
    assert note is None or any(note in text for text in image.notes)
    assert len(image.notes) == 1 + (note is not None)
