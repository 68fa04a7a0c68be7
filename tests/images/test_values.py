"""Intensities and labels: what is corrected, what is refused, what is noted."""

from __future__ import annotations

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images import read_image, read_labels
from lodbrain.images.io import read_array
from lodbrain.images.values import to_intensities


def notes_of(image) -> list[str]:
    """All but the note on the small field of view."""
    return [note for note in image.notes if "field of view" not in note]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nan_and_inf_become_dark_and_are_counted(bad, dtype, files):
    data = files.voxels(dtype)
    data[:, :, :2] = bad
    image = read_image(files.nifti(data=data))
    assert (image.data[:, :, :2] == data[:, :, 2:].min()).all()
    np.testing.assert_array_equal(image.data[:, :, 2:], files.voxels()[:, :, 2:])
    assert notes_of(image) == ["NaN or Inf in 25.00% of the voxels; they were set to the darkest intensity."]


def test_nan_in_a_scan_with_negative_values_becomes_as_dark_as_its_dark_voxels(files):
    data = files.voxels("f4") - 200
    data[0] = np.nan
    image = read_image(files.nifti(data=data))
    assert (image.data[0] == image.data[0, 0, 0]).all()
    assert -199 <= image.data[0, 0, 0] <= -197


@pytest.mark.parametrize(("part", "refused"), [(0.5, False), (0.51, True), (1.0, True)])
def test_more_than_half_nan_is_refused(part, refused, files):
    data = np.random.default_rng(0).random((10, 10, 10), np.float32)
    data.ravel()[: int(part * 1000)] = np.nan
    path = files.nifti(data=data)
    if not refused:
        np.testing.assert_allclose(read_image(path).data[0], np.nanpercentile(data, 0.1), rtol=1e-6)
        return
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == "not-finite"


def _ball(shape, radius):
    """A ball of the head's intensities, NaN around it."""
    middle = [np.arange(n) - n / 2 + 0.5 for n in shape]
    x, y, z = np.meshgrid(*middle, indexing="ij")
    noise = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    return np.where(x**2 + y**2 + z**2 < radius**2, noise, np.float32(np.nan))


@pytest.mark.parametrize(("radius", "share"), [(13.7, 0.69), (11, 0.84)])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_nan_around_a_head_is_background_and_noted(radius, share, bad, files):
    data = _ball((34, 32, 32), radius)
    outside = np.isnan(data)
    assert outside.mean() == pytest.approx(share, abs=0.01)
    data[outside] = bad
    image = read_image(files.nifti(data=data))
    np.testing.assert_array_equal(image.data[~outside], data[~outside])
    np.testing.assert_allclose(image.data[outside], np.percentile(data[~outside], 0.1), rtol=1e-4)
    assert (
        notes_of(image)[0]
        == f"NaN or Inf around the head, {outside.mean():.0%} of the voxels, were taken as background."
    )
    again = read_array(data, np.diag([5.0, 5, 5, 1]))
    np.testing.assert_array_equal(again.data, image.data)


def _scattered(data):
    data[np.random.default_rng(1).random(data.shape) < 0.6] = np.nan


def _every_other_slice(data):
    data[..., ::2] = np.nan
    data[..., 1] = np.nan


def _two_halves(data):
    data[8:] = np.nan
    data[:, 14:17] = np.nan


def _pepper_in_a_head(data):
    data[:] = _ball(data.shape, 14)
    data[np.random.default_rng(1).random(data.shape) < 0.4] = np.nan


@pytest.mark.parametrize("spoil", [_scattered, _every_other_slice, _two_halves, _pepper_in_a_head])
def test_scan_of_which_nan_left_no_solid_piece_is_refused(spoil, files):
    data = np.random.default_rng(0).normal(100, 10, (34, 32, 32)).astype(np.float32)
    spoil(data)
    with pytest.raises(InputError) as caught:
        read_image(files.nifti(data=data))
    assert caught.value.code == "not-finite"


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_constant_image_is_refused(value, dtype, files):
    with pytest.raises(InputError) as caught:
        read_image(files.nifti(data=np.full((6, 7, 8), value, dtype)))
    assert caught.value.code == "constant"


def test_constant_but_for_nan_is_refused(files):
    data = np.zeros((6, 7, 8), np.float32)
    data[0] = np.nan
    with pytest.raises(InputError) as caught:
        read_image(files.nifti(data=data))
    assert caught.value.code == "constant"


def test_negative_intensities_are_kept_and_noted(files):
    image = read_image(files.nifti(data=files.voxels() - 60))
    np.testing.assert_array_equal(image.data, files.voxels() - 60)
    assert notes_of(image) == [
        f"Negative intensities (down to {files.voxels().min() - 60}) were kept; the darkest count as black."
    ]


@pytest.mark.parametrize(("dtype", "offset"), [("i4", 2**30), ("f8", -1e12), ("u4", 2**32 - 200)])
def test_offset_that_float32_cannot_hold_is_removed_and_noted(dtype, offset, files):
    image = read_image(files.nifti(data=(files.voxels("i8") + int(offset)).astype(dtype)))
    np.testing.assert_array_equal(image.data, files.voxels() - files.voxels().min())
    assert "were shifted to begin at 0" in notes_of(image)[0]


def test_offset_of_the_header_that_float32_cannot_hold_is_removed(files):
    image = read_image(files.nifti(data=files.voxels(), scl_slope=1, scl_inter=1e9))
    np.testing.assert_array_equal(image.data, files.voxels() - files.voxels().min())


@pytest.mark.parametrize("offset", [0, 1000])
def test_nan_is_as_dark_as_the_scan_whatever_its_offset(offset, files):
    data = files.voxels("f4") + offset
    data[0] = np.nan
    assert read_image(files.nifti(data=data)).data[0, 0, 0] == pytest.approx(offset + 1, abs=2)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e25, -1e200])
def test_extreme_scale_is_brought_back_in_proportion(scale, files):
    image = read_image(files.nifti(data=files.voxels("f8") * scale))
    original = files.voxels().astype(np.float64) * np.sign(scale)
    np.testing.assert_allclose(image.data / image.data.flat[0], original / original.flat[0], rtol=1e-5)
    assert 100 < np.abs(image.data).max() < 1e4
    assert "were multiplied by" in notes_of(image)[0]


def test_few_wild_voxels_are_clipped_and_the_others_kept(files):
    data = files.voxels("f8")
    data[0, 0, 0], data[1, 0, 0] = 1e200, -1e200
    image = read_image(files.nifti(data=data))
    np.testing.assert_array_equal(image.data[2:], files.voxels()[2:])
    assert 120 <= image.data[0, 0, 0] < 1e5
    assert image.data[1, 0, 0] == -image.data[0, 0, 0]


def test_scaling_beyond_all_numbers_is_refused(files):
    with pytest.raises(InputError) as caught:
        read_image(files.nifti(data=files.voxels("f8") * 1e305, version=2, scl_slope=1e10))
    assert caught.value.code == "not-finite"


@pytest.mark.parametrize("dtype", ["i2", "f4", "i4"])
def test_label_map_is_noted(dtype, files):
    labels = np.zeros((24, 24, 24), dtype)
    labels[4:20, 4:20, 4:20] = 3
    labels[8:16, 8:16, 8:16] = 41
    assert notes_of(read_image(files.nifti(data=labels))) == ["It looks like a label map or a mask, not a scan."]


def test_skull_stripped_scan_is_accepted_without_a_note(files):
    data = np.zeros((24, 24, 24), np.int16)
    data[6:18, 6:18, 6:18] = files.voxels(shape=(12, 12, 12))
    assert notes_of(read_image(files.nifti(data=data))) == []


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_conversion_over_several_chunks_keeps_every_voxel(dtype, monkeypatch):
    monkeypatch.setattr("lodbrain.images.values._CHUNK", 100)
    stored = np.random.default_rng(0).integers(0, 120, 1037).astype(dtype)
    values, _ = to_intensities(None, bytearray(stored.tobytes()), stored.dtype, slope=2, intercept=1)
    np.testing.assert_array_equal(values, stored.astype(np.float32) * 2 + 1)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f4"])
def test_small_voxels_at_the_end_of_a_larger_buffer_are_widened_in_it(dtype, monkeypatch):
    monkeypatch.setattr("lodbrain.images.values._CHUNK", 100)
    stored = np.random.default_rng(0).integers(0, 120, 1037).astype(dtype)
    buffer = bytearray(4 * 1037)
    buffer[4 * 1037 - stored.nbytes :] = stored.tobytes()
    values, _ = to_intensities(None, buffer, stored.dtype, shape=(1037, 1, 1))
    np.testing.assert_array_equal(values, stored.astype(np.float32))
    assert np.shares_memory(values, np.frombuffer(buffer, np.uint8))


def test_float64_gives_half_of_its_memory_back():
    stored = np.random.default_rng(0).random(1000)
    buffer = bytearray(stored.tobytes())
    values, _ = to_intensities(None, buffer, stored.dtype)
    np.testing.assert_array_equal(values, stored.astype(np.float32))
    assert len(buffer) == 4000


@pytest.mark.parametrize(
    ("dtype", "highest", "expected"),
    [
        ("u1", 60, "i2"),
        ("u2", 60000, "i4"),
        ("i4", 2035, "i2"),
        ("f4", 2035, "i2"),
        ("f8", 12175, "i2"),
        ("i8", 2**40, "i8"),
    ],
)
def test_labels_are_the_smallest_fitting_integers(dtype, highest, expected, files):
    data = np.zeros((6, 7, 8), dtype)
    data[2:4] = 2
    data[0, 0, 0] = highest
    image = read_labels(files.nifti("labels.nii.gz", data))
    assert image.data.dtype == np.dtype(expected)
    np.testing.assert_array_equal(image.data, data)
    assert image.header is not None


def test_scaled_labels_are_whole_again(files):
    image = read_labels(files.nifti(data=files.voxels() * 10, scl_slope=0.1))
    np.testing.assert_array_equal(image.data, files.voxels())


def test_nan_in_labels_becomes_background(files):
    data = files.voxels("f4")
    data[0, 0, 0] = np.nan
    image = read_labels(files.nifti(data=data))
    assert image.data[0, 0, 0] == 0
    assert "set to 0" in image.notes[-1]


def test_empty_label_map_is_accepted(files):
    assert not read_labels(files.nifti(data=np.zeros((6, 7, 8), np.uint8))).data.any()


@pytest.mark.parametrize("value", [0.5, 1e200])
def test_values_that_are_no_labels_are_refused(value, files):
    data = files.voxels("f8")
    data[3, 3, 3] = value
    with pytest.raises(InputError) as caught:
        read_labels(files.nifti(data=data))
    assert caught.value.code == "not-labels"
