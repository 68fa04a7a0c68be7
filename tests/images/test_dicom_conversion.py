"""Conversion of DICOM series: voxels and places are those of the pixels."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
pytest.importorskip("dcm2niix", reason="dcm2niix is not installed (extra dicom)")

from dicom_files import as_slices, write_classic, write_enhanced
from tiny_model import head

from lodbrain.errors import InputError
from lodbrain.images import read_image, to_ras
from lodbrain.images.dicom_conversion import converted
from lodbrain.images.dicom_headers import read_headers
from lodbrain.images.dicom_series import DicomSeries, group_series
from lodbrain.images.dicom_source import archive_source, folder_source

HEAD = head()
SLICES = as_slices(HEAD)

#: The grid of `HEAD` as `write_classic` puts it, RAS: centred but for half a voxel.
GRID = np.array([[6.0, 0, 0, -90], [0, 6, 0, -102], [0, 0, 6, -84], [0, 0, 0, 1]])


def only(path: Path) -> DicomSeries:
    source = folder_source(path, sorted(path.rglob("*.dcm"))) if path.is_dir() else archive_source(path)
    (series,) = group_series(source, [header for header in read_headers(source) if not isinstance(header, str)])
    return series


def read(series: DicomSeries) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Voxels and affine in RAS order, and what was corrected."""
    with converted(series) as scan:
        image, _ = to_ras(read_image(scan.nifti))
        assert image.notes == ()
        assert scan.stack.from_volume(read_image(scan.nifti).data, read_image(scan.nifti).affine).shape == SLICES.shape
        return np.array(image.data), image.affine, scan.notes


def shuffled(number: int) -> str:
    return f"{random.Random(number).getrandbits(32):08x}.dcm"


def test_a_classic_series_keeps_voxels_and_places(tmp_path: Path) -> None:
    write_classic(tmp_path, SLICES, names=lambda number: f"{number % 4}/{shuffled(number)}")
    data, affine, notes = read(only(tmp_path))
    np.testing.assert_array_equal(data, HEAD)
    np.testing.assert_allclose(affine, GRID, atol=1e-4)
    assert notes == ()


def test_an_enhanced_series_with_shuffled_frames_keeps_voxels_and_places(tmp_path: Path) -> None:
    """dcm2niix v1.0.20260724 sorts the frames but takes their distance from the first and the last of the file."""
    order = list(range(len(SLICES)))
    random.Random(1).shuffle(order)
    write_enhanced(tmp_path / "a.dcm", SLICES, order=order)
    data, affine, notes = read(only(tmp_path))
    np.testing.assert_array_equal(data, HEAD)
    np.testing.assert_allclose(affine, GRID, atol=1e-4)
    assert notes == ("dcm2niix misplaced the slices by up to 78.0 mm; they lie where DICOM says.",)


def test_a_stack_that_leans_keeps_its_lean(tmp_path: Path) -> None:
    """dcm2niix v1.0.20260724 knows the lean (gantry tilt) of CT alone."""
    write_classic(tmp_path, SLICES, tilt=0.2)
    with converted(only(tmp_path)) as scan:
        image = read_image(scan.nifti)
        # from one slice to the next, 6 mm to the left, 1.2 mm down
        step = image.affine[:3, 2] * np.sign(-image.affine[0, 2])
        np.testing.assert_allclose(step, [-6, 0, -1.2], atol=1e-4)
        assert image.notes == ("The axes are sheared by 11.3 degrees.",)
        assert "by up to" in scan.notes[0]
        frames = scan.stack.from_volume(image.data, image.affine)
    np.testing.assert_array_equal(frames, only_frames(SLICES))


def only_frames(slices: NDArray[Any]) -> NDArray[Any]:
    """Slices in the order that `DicomSeries` puts them into: along the cross product of rows and columns."""
    return slices[::-1]


def test_frames_come_back_in_the_order_of_the_files(tmp_path: Path) -> None:
    order = list(range(len(SLICES)))
    random.Random(2).shuffle(order)
    write_enhanced(tmp_path / "a" / "a.dcm", SLICES, order=order)
    write_classic(tmp_path / "b", SLICES)
    for name, expected in (("a", SLICES[order]), ("b", only_frames(SLICES))):
        with converted(only(tmp_path / name)) as scan:
            image = read_image(scan.nifti)
            np.testing.assert_array_equal(scan.stack.from_volume(image.data, image.affine), expected)


def test_a_volume_of_another_grid_is_not_put_on_the_frames(tmp_path: Path) -> None:
    write_classic(tmp_path, SLICES)
    stack = only(tmp_path).stack
    assert stack is not None
    moved = GRID.copy()
    moved[0, 3] += 1
    with pytest.raises(ValueError, match="a corner of the frames lies"):
        stack.from_volume(HEAD, moved)
    with pytest.raises(ValueError, match="the volume has"):
        stack.from_volume(HEAD[1:], GRID)
    with pytest.raises(ValueError, match="not slices of the volume"):
        stack.from_volume(HEAD, GRID @ np.diag([2.0, 1, 1, 1]))


def test_a_zip_archive_gives_what_its_folder_does_whatever_its_names(tmp_path: Path) -> None:
    files = write_classic(tmp_path / "in", SLICES)
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files):
            archive.write(file, f"../../../{'/etc/' if number % 2 else ''}slice{number}")
    before = sorted(path for path in tmp_path.rglob("*"))
    data, affine, _ = read(only(tmp_path / "export.zip"))
    np.testing.assert_array_equal(data, HEAD)
    np.testing.assert_allclose(affine, GRID, atol=1e-4)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_file_cut_short_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    file = write_classic(tmp_path / "in", SLICES)[7]
    file.write_bytes(file.read_bytes()[:-500])
    with (
        pytest.raises(InputError, match=r"dcm2niix failed on series 5 .*IM0007\.dcm"),
        converted(only(tmp_path / "in")),
    ):
        pass
    assert list((tmp_path / "temporary").iterdir()) == []


def test_no_text_of_the_header_reaches_the_converted_file(tmp_path: Path) -> None:
    write_classic(tmp_path, SLICES)
    with converted(only(tmp_path)) as scan:
        header: Any = nibabel.load(scan.nifti).header
        assert bytes(header["aux_file"]).strip(b"\0") == b""
        assert [path.name for path in scan.nifti.parent.iterdir()] == ["series-5_t1-mprage-sag-p2.nii"]
