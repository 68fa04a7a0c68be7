"""DICOM series: which one is the T1w-like 3D scan, and what is wrong with the others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")

from dicom_files import FLAIR, LOCALIZER, PERSON, T1W, as_slices, write_classic, write_enhanced
from tiny_model import head

from lodbrain.images.dicom_headers import read_headers
from lodbrain.images.dicom_series import DicomSeries, choose, group_series
from lodbrain.images.dicom_source import folder_source


@pytest.fixture(scope="module")
def slices() -> NDArray[np.integer]:
    return as_slices(head())


def series_of(folder: Path) -> list[DicomSeries]:
    source = folder_source(folder, sorted(path for path in folder.rglob("*") if path.is_file()))
    return group_series(source, [header for header in read_headers(source) if not isinstance(header, str)])


def only(folder: Path) -> DicomSeries:
    (series,) = series_of(folder)
    return series


def test_a_classic_series_is_found_whole_in_the_order_of_its_slices(tmp_path: Path, slices: Any) -> None:
    numbers = list(range(len(slices)))
    random.Random(3).shuffle(numbers)
    # scattered over folders, with names in no order, and one image twice
    write_classic(tmp_path, slices, names=lambda number: f"DICOM/PA{number % 3}/{numbers[number]:08x}")
    write_classic(tmp_path, slices[:1], names=lambda number: "copy.dcm")
    (tmp_path / "README.txt").write_text("made by a viewer")
    series = only(tmp_path)
    assert (series.reason, series.problem, series.images, series.size) == (None, None, 32, (30, 36))
    assert series.stack is not None
    assert np.diff(series.stack.positions_mm, axis=0).tolist() == [[-6, 0, 0]] * 31
    assert (series.stem, series.title) == ("series-5_t1-mprage-sag-p2", "series 5 (t1-mprage-sag-p2)")


def test_an_enhanced_series_states_the_same_as_a_classic_one(tmp_path: Path, slices: Any) -> None:
    write_classic(tmp_path / "classic", slices)
    write_enhanced(tmp_path / "enhanced" / "a.dcm", slices)
    classic, enhanced = only(tmp_path / "classic"), only(tmp_path / "enhanced")
    assert (enhanced.reason, enhanced.problem, enhanced.rank) == (None, None, classic.rank)
    assert classic.stack is not None and enhanced.stack is not None
    np.testing.assert_array_equal(enhanced.stack.affine, classic.stack.affine)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (
            {"SeriesDescription": "t1_mpr", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
            "reformatted from another series",
        ),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "a phase image, or the real or imaginary part of one"),
        ({"MRAcquisitionType": "2D"}, "2D, slices 6.0 mm apart"),
        ({"MRAcquisitionType": ""}, "2D, slices 6.0 mm apart"),
        ({"SeriesDescription": "t2_tse", "ProtocolName": "t2_tse"}, "T2-weighted"),
        ({"SeriesDescription": "ep2d_bold", "ProtocolName": "rest"}, "functional or echo-planar"),
        ({"SeriesDescription": "mp2rage_INV1"}, "one inversion of an MP2RAGE, not its combination"),
        ({"SeriesDescription": "mp2rage_T1_Images"}, "a map"),
        ({"SeriesDescription": "tof_fl3d"}, "angiography"),
        ({"AngioFlag": "Y"}, "angiography"),
        ({"EchoTime": 90.0}, "an echo time of 90 ms, T2- or T2*-weighted"),
        ({"InversionTime": 2000.0}, "an inversion time of 2000 ms, fluid-attenuated"),
        ({"SeriesDescription": "x", "ProtocolName": "y", "EchoTime": None}, "a contrast that neither its name nor"),
        (
            {
                "SeriesDescription": "x",
                "ProtocolName": "y",
                "InversionTime": None,
                "RepetitionTime": 25,
                "FlipAngle": 5,
            },
            "a contrast that is not T1 by its times",
        ),
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "no MR images"),
        (FLAIR, "FLAIR"),
        (LOCALIZER, "a localizer"),
    ],
)
def test_a_series_that_is_no_t1w_3d_scan_says_why(
    elements: dict[str, Any], reason: str, tmp_path: Path, slices: Any
) -> None:
    from pydicom import dcmread

    for path in write_classic(tmp_path, slices[:20]):
        data = dcmread(path)
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        data.save_as(path)
    assert str(only(tmp_path).reason).startswith(reason)


@pytest.mark.parametrize(
    "elements",
    [
        {"SeriesDescription": "anonymous", "ProtocolName": "a"},  # MPRAGE by its times
        {"SeriesDescription": "a", "ProtocolName": "a", "InversionTime": None, "RepetitionTime": 22, "FlipAngle": 20},
        {"SeriesDescription": "Ax 3D T1 FSPGR BRAVO", "EchoTime": None, "RepetitionTime": None},
        {"SeriesDescription": "t1_space_sag", "RepetitionTime": 700.0, "EchoTime": 20.0, "InversionTime": None},
        {"SeriesDescription": "sT1W_3D_TFE", "ProtocolName": "WIP sT1W_3D_TFE SENSE"},
        {"SeriesDescription": "T1_MP2RAGE_UNI-DEN"},
    ],
)
def test_t1w_scans_of_several_makers_are_known(elements: dict[str, Any], tmp_path: Path, slices: Any) -> None:
    header = {key: value for key, value in (T1W | elements).items() if value is not None}
    write_classic(tmp_path, slices, header=header)
    assert only(tmp_path).reason is None


def test_the_better_of_several_t1w_scans_is_taken(tmp_path: Path, slices: Any) -> None:
    write_classic(tmp_path / "a", slices, series=2)
    write_classic(tmp_path / "b", slices, series=3, header=T1W | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]})
    write_classic(tmp_path / "c", slices, series=4, header=T1W | {"ContrastBolusAgent": "Gadovist"})
    assert choose(series_of(tmp_path)).number == 2  # type: ignore[union-attr]
    write_classic(tmp_path / "d", slices, series=6)  # again, for the first had moved
    assert choose(series_of(tmp_path)).number == 6  # type: ignore[union-attr]
    write_classic(tmp_path / "e", slices, series=7, skip=(9,))
    assert choose(series_of(tmp_path)).number == 6  # type: ignore[union-attr]
    write_classic(tmp_path / "f", np.repeat(slices, 2, axis=0), voxel_mm=3, series=1)
    assert choose(series_of(tmp_path)).number == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"skip": (9,)}, "missing-slices", "1 of its slices is missing"),
        ({"skip": (9, 10, 20)}, "missing-slices", "3 of its slices are missing"),
        (
            {"skip": (0, 1), "header": T1W | {"ImagesInAcquisition": 32}},
            "missing-slices",
            "2 of its 32 slices are missing",
        ),
        ({"syntax": "1.2.840.10008.1.2.4.201"}, "codec", "dcm2niix cannot decode (High-Throughput JPEG 2000"),
        ({"syntax": "1.2.3.4"}, "codec", "(1.2.3.4)"),
    ],
)
def test_a_series_that_cannot_be_converted_says_why(
    options: dict[str, Any], code: str, words: str, tmp_path: Path, slices: Any
) -> None:
    write_classic(tmp_path, slices, **options)
    problem = only(tmp_path).problem
    assert problem is not None and problem[0] == code and words in problem[1]


def test_two_volumes_in_one_series_are_none(tmp_path: Path, slices: Any) -> None:
    from pydicom import dcmread

    write_classic(tmp_path / "a", slices)
    for path in write_classic(tmp_path / "b", slices):
        data = dcmread(path)
        data.SOPInstanceUID += "9"
        data.save_as(path)
    series = only(tmp_path)
    assert series.reason == "several images of one place (echoes, phases or time points)"


@pytest.mark.parametrize(
    ("protocol", "label"),
    [
        ("t1 (sag) / iso_1.0", "t1-sag-iso-1-0"),
        ("T1 MUSTERMANN", ""),
        ("erika_t1", ""),
        ("T1 hosp 481516", ""),
        ("T1 20240229 x", "T1-x"),
        ("../../t1", "t1"),
        ("T1" * 30, ("T1" * 30)[:40]),
    ],
)
def test_names_of_results_hold_the_protocol_and_nothing_of_the_person(
    protocol: str, label: str, tmp_path: Path, slices: Any
) -> None:
    write_classic(tmp_path, slices, header=T1W | {"ProtocolName": protocol})
    assert only(tmp_path).stem == ("series-5" + (f"_{label}" if label else ""))
    assert PERSON["PatientName"].split("^")[0].lower() not in only(tmp_path).title.lower()
