"""DICOM Segmentations: read back, they hold the label map; whose it is, what each segment is, who made it."""

from __future__ import annotations

import gzip
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("dcm2niix", reason="dcm2niix is not installed (extra dicom)")
pytest.importorskip("highdicom", reason="highdicom is not installed (extra dicom)")

import highdicom
import pydicom
from dicom_files import PERSON, as_slices, uid, write_classic, write_enhanced
from tiny_model import head, save_tiny_model

from lodbrain import commands
from lodbrain.images import read_labels
from lodbrain.labels import STRUCTURES

SLICES = as_slices(head())


def segment(source: Path, out: Path, *words: str) -> tuple[Path, Path]:
    """Segment with a tiny model; return NIfTI and DICOM Segmentation."""
    model = save_tiny_model(out.parent / "tiny.safetensors")
    assert commands.main(["segment", str(source), "-o", str(out), "--model", str(model), "--dicom-seg", *words]) == 0
    (nifti,), (dicom,) = out.glob("*_dseg.nii.gz"), out.glob("*_dseg.dcm")
    return nifti, dicom


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path, Path]:
    """A classic series that was segmented once: its files, NIfTI and DICOM Segmentation."""
    folder = tmp_path_factory.mktemp("made")
    files = write_classic(folder / "in", SLICES)
    return files, *segment(folder / "in", folder / "out")


def write_series(kind: str, folder: Path) -> list[Path]:
    if kind == "classic":
        return write_classic(folder, SLICES)
    if kind == "leaning":
        return write_classic(folder, SLICES, tilt=0.1)
    order = list(range(len(SLICES)))
    random.Random(4).shuffle(order)
    return [write_enhanced(folder / "a.dcm", SLICES, order=order)]


def voxels_of(seg: Any) -> NDArray[np.float64]:
    """(N, 4): place (LPS, mm) and FreeSurfer's number of each labelled pixel, from the standard's elements alone."""
    by_name = {label.name: label.index for label in STRUCTURES}
    names = {item.SegmentNumber: item.SegmentLabel for item in seg.SegmentSequence}
    shared = seg.SharedFunctionalGroupsSequence[0]
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_step, column_step = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        number = names[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        row, column = np.nonzero(pixels)
        places = origin + np.outer(column * column_step, turn[:3]) + np.outer(row * row_step, turn[3:])
        found.append(np.column_stack([places, np.full(len(row), by_name[number])]))
    return in_order(np.concatenate(found))


def expected_voxels(nifti: Path) -> NDArray[np.float64]:
    """The same of a label map."""
    image = read_labels(nifti)
    places = np.argwhere(image.data)
    lps = (places @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
    return in_order(np.column_stack([lps, image.data[tuple(places.T)]]))


def in_order(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows by place, to hundredths of a millimetre."""
    rounded = rows.round(2) + 0.0
    return rounded[np.lexsort(rounded.T)]


@pytest.mark.parametrize("kind", ["classic", "enhanced", "leaning"])
def test_read_back_it_is_the_label_map_voxel_for_voxel(
    kind: str, tmp_path: Path, made: tuple[list[Path], Path, Path]
) -> None:
    if kind == "classic":
        files, nifti, dicom = made
    else:
        files = write_series(kind, tmp_path / "in")
        nifti, dicom = segment(tmp_path / "in", tmp_path / "out")
    expected = expected_voxels(nifti)
    assert len(expected) > 1000 and len(np.unique(expected[:, 3])) > 5
    assert np.abs(voxels_of(pydicom.dcmread(dicom)) - expected).max() < 0.02
    # and by highdicom, frame by frame of the source
    seg = highdicom.seg.segread(dicom)
    sources = [pydicom.dcmread(file) for file in files]
    if kind == "enhanced":
        numbers = list(range(1, len(SLICES) + 1))
        read = seg.get_pixels_by_source_frame(
            sources[0].SOPInstanceUID, numbers, combine_segments=True, ignore_spatial_locations=True
        )
    else:
        uids = [source.SOPInstanceUID for source in sources]
        read = seg.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True)
    index_of = {label.name: label.index for label in STRUCTURES}
    lookup = np.array([0, *(index_of[item.SegmentLabel] for item in seg.SegmentSequence)])
    volume = read_labels(nifti)
    assert np.bincount(lookup[read].ravel()).tolist() == np.bincount(volume.data.ravel()).tolist()


def test_it_belongs_to_the_study_and_says_what_made_it(made: tuple[list[Path], Path, Path]) -> None:
    files, _, dicom = made
    seg, source = pydicom.dcmread(dicom), pydicom.dcmread(files[0])
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != uid(1, 5)
    assert {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == {
        pydicom.dcmread(file).SOPInstanceUID for file in files
    }
    assert (seg.ContentQualification, seg.SegmentationType, seg.SeriesNumber) == ("RESEARCH", "BINARY", 9005)
    assert "not a medical device" in seg.ContentDescription and "not a medical device" in seg.SeriesDescription
    for item in seg.SegmentSequence:
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, item.SegmentAlgorithmType) == ("lodbrain tiny", "AUTOMATIC")
        assert algorithm.AlgorithmVersion == commands.__version__
        assert re.search(r"weights-sha256=[0-9a-f]{64}", algorithm.AlgorithmParameters)


def test_segments_have_codes_sides_and_freesurfers_colours(made: tuple[list[Path], Path, Path]) -> None:
    *_, dicom = made
    labels = {label.name: label for label in STRUCTURES}
    segments = {item.SegmentLabel: item for item in pydicom.dcmread(dicom).SegmentSequence}
    assert len(segments) > 5
    for name, item in segments.items():
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        sides = [code.CodeMeaning.lower() for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        assert sides == ([labels[name].side] if labels[name].side else [])
        color = highdicom.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        np.testing.assert_allclose(color, labels[name].color, atol=1)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian's dicom3tools)")
def test_dciodvfy_finds_no_error(kind: str, tmp_path: Path, made: tuple[list[Path], Path, Path]) -> None:
    *_, dicom = made
    if kind == "enhanced":
        write_series(kind, tmp_path / "in")
        _, dicom = segment(tmp_path / "in", tmp_path / "out")
    done = subprocess.run(["dciodvfy", str(dicom)], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    warnings = [line for line in lines if line.startswith("Warning")]
    assert [line for line in warnings if "99FREESURFER" not in line] == []


def test_nothing_of_the_person_is_in_the_other_outputs(tmp_path: Path) -> None:
    write_classic(tmp_path / "Mustermann", SLICES)
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    words = ["segment", str(tmp_path / "Mustermann"), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert commands.main([*words, "--posteriors", "--report"]) == 0
    made = list((tmp_path / "out").iterdir())
    assert len(made) == 7
    for path in made:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        found = (path.name.encode() + content).lower()
        personal = [*re.split(r"\^", PERSON["PatientName"]), *list(PERSON.values())[1:], uid(1)]
        assert [word for word in personal if word.lower().encode() in found] == [], path.name


def test_a_scan_that_is_no_dicom_gets_none(tmp_path: Path, head_4mm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["segment", str(head_4mm), "-o", str(tmp_path / "out"), "--dicom-seg"]) == 2
    assert "needs a DICOM series, which this is not" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_resume_keeps_a_complete_set_and_makes_the_missing_segmentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classic(tmp_path / "in", SLICES)
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model), "--resume"]
    assert commands.main(words) == 0
    assert not list((tmp_path / "out").glob("*.dcm"))
    assert commands.main([*words, "--dicom-seg"]) == 0
    (dicom,) = (tmp_path / "out").glob("*.dcm")
    before = dicom.read_bytes()
    capsys.readouterr()
    assert commands.main([*words, "--dicom-seg"]) == 0
    assert "is complete, skipped" in capsys.readouterr().out
    assert dicom.read_bytes() == before


@pytest.mark.data
def test_an_enhanced_series_of_a_scanner(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nifti, dicom = segment(data_dir / "dicom" / "xa30_T1w_2mm", tmp_path / "out")
    assert capsys.readouterr().out.startswith(
        "xa30_T1w_2mm: series 5 (anat-T1w-acq-tfl) is selected, 96 slices of 128 x 128\n"
    )
    assert nifti.name == "series-5_anat-T1w-acq-tfl_dseg.nii.gz"
    assert np.abs(voxels_of(pydicom.dcmread(dicom)) - expected_voxels(nifti)).max() < 0.02
    source = pydicom.dcmread(data_dir / "dicom" / "xa30_T1w_2mm" / "IM0001.dcm", stop_before_pixels=True)
    text = (tmp_path / "out" / "series-5_anat-T1w-acq-tfl_dseg.json").read_text()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyDate", "SeriesInstanceUID"):
        assert str(source[keyword].value) not in text
