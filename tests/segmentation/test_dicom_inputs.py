"""DICOM inputs: the selected series, the places of the results, and the lines for the user."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
pytest.importorskip("dcm2niix", reason="dcm2niix is not installed (extra dicom)")

from dicom_files import FLAIR, LOCALIZER, PERSON, T1W, as_slices, write_classic
from tiny_model import head

from lodbrain.errors import InputError
from lodbrain.segmentation.dicom_inputs import DicomOptions, DicomScan, find_dicom_scans, on_disk
from lodbrain.segmentation.inputs import find_scans, is_dicom_input

SLICES = as_slices(head())


def only(path: Path, **options: object) -> DicomScan:
    (scan,) = find_dicom_scans([path], DicomOptions(**options))  # type: ignore[arg-type]
    return scan


def write_export(folder: Path, *, study: int = 1, t1w: bool = True, localizer_only: bool = False) -> Path:
    write_classic(folder / "DICOM" / "S1", SLICES[10:13], series=1, study=study, header=LOCALIZER)
    if not localizer_only:
        write_classic(folder / "DICOM" / "S3", SLICES, series=3, study=study, header=FLAIR)
    if t1w:
        write_classic(folder / "DICOM" / "S2", SLICES, series=2, study=study)
    (folder / "DICOM" / "viewer.exe").write_bytes(b"MZ" + bytes(1000))
    return folder


def test_of_an_export_the_t1w_is_taken_and_the_others_are_listed(tmp_path: Path) -> None:
    scan = only(write_export(tmp_path / "export"))
    assert scan.messages == (
        "export: series 2 (t1-mprage-sag-p2) is selected, 32 slices of 30 x 36",
        "export: series 1 (localizer) is skipped: a localizer",
        "export: series 3 (t2-space-dark-fluid-sag) is skipped: FLAIR",
    )
    assert (scan.stem, scan.folder, scan.problem) == ("series-2_t1-mprage-sag-p2", Path(), None)
    assert scan.about["dicom"] | {"converter": ""} == {  # type: ignore[operator]
        "series": 2,
        "protocol": "t1-mprage-sag-p2",
        "slices": 32,
        "unreadable_files": 0,
        "converter": "",
    }


def test_an_archive_a_file_and_a_dicomdir_stand_for_the_same_series(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in sorted(export.rglob("*.dcm")):
            archive.write(path, path.relative_to(export))
    (export / "DICOMDIR").touch()
    file = export / "DICOM" / "S2" / "IM0007.dcm"
    found = [only(path) for path in (export, tmp_path / "export.zip", file, export / "DICOMDIR")]
    assert {scan.stem for scan in found} == {"series-2_t1-mprage-sag-p2"}
    assert {len(scan.series.files) for scan in found if scan.series is not None} == {32}
    # all files of a series, by a glob, are one scan
    assert len(find_dicom_scans(sorted(file.parent.iterdir()))) == 1


def test_what_is_dicom_is_told_from_other_inputs(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("x", "x")
    (tmp_path / "scan.nii").touch()
    found = find_scans([export, tmp_path / "export.zip", export / "DICOM/S2/IM0007.dcm", tmp_path / "scan.nii"])
    assert [is_dicom_input(scan) for scan in found] == [True, True, True, False]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            {"t1w": False},
            "no-t1w",
            "none of its series is a T1w-like 3D scan (series 1 (localizer): a localizer; "
            "series 3 (t2-space-dark-fluid-sag): FLAIR). Use --series N",
        ),
        ({"t1w": False, "localizer_only": True}, "localizer-only", "it holds localizers only"),
    ],
)
def test_an_export_without_a_t1w_is_refused_in_one_line(
    options: dict[str, bool], code: str, words: str, tmp_path: Path
) -> None:
    problem = only(write_export(tmp_path / "export", **options)).problem
    assert problem is not None and problem.code == code
    assert words in str(problem) and "\n" not in str(problem)


def test_a_t1w_with_missing_slices_is_refused(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", SLICES, skip=(12,))
    problem = only(tmp_path / "in").problem
    assert str(problem) == (
        f"{tmp_path}/in: series 5 (t1-mprage-sag-p2): 1 of its slices is missing. Copy or export the series again"
    )


def test_a_damaged_file_is_counted(tmp_path: Path) -> None:
    file = write_classic(tmp_path / "in", SLICES)[0]
    file.write_bytes(file.read_bytes()[:300])
    scan = only(tmp_path / "in")
    assert scan.messages[-1] == "in: files that could not be read: 1"
    assert scan.about["dicom"]["unreadable_files"] == 1  # type: ignore[index]


def test_a_series_may_be_chosen_by_its_number(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export", t1w=False)
    assert only(export, series=3).stem == "series-3_t2-space-dark-fluid-sag"
    assert only(export, series=3).messages[1:] == ("export: series 1 (localizer) is skipped: not requested",)
    problem = only(export, series=4).problem
    assert "it has no series 4; there are 1, 3. Choose one of these" in str(problem)


def test_nothing_but_dicom_is_no_dicom(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x" * 200)
    problem = only(tmp_path / "a.zip").problem
    assert problem is not None and "there is no DICOM series in it (1 files, 0 of them damaged)" in str(problem)


def test_several_studies_get_a_folder_each_that_does_not_name_the_person(tmp_path: Path) -> None:
    write_classic(tmp_path / "s1", SLICES, study=1)
    write_classic(tmp_path / "Mustermann" / "x", SLICES, study=2)
    write_classic(tmp_path / "both" / "x", SLICES, study=3, header=T1W | {"PatientName": "A^B", "PatientID": "77"})
    write_classic(tmp_path / "both" / "y", SLICES, study=4)
    paths = [tmp_path / name for name in ("s1", "Mustermann", "both")]
    assert [str(scan.folder) for scan in find_dicom_scans(paths)] == ["s1", "study-2", "study-3", "study-4"]
    asked = find_dicom_scans(paths, DicomOptions(identify=True))
    assert [str(scan.folder) for scan in asked] == ["s1", "Mustermann", "study-3", "study-4"]


def test_the_person_is_named_only_if_asked_for(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", SLICES)
    quiet, asked = only(tmp_path / "in"), only(tmp_path / "in", identify=True)
    for word in (*PERSON.values(), "1.2.826"):
        assert word not in str(quiet.about) and word not in str(quiet.messages)
    about = asked.about["dicom"]
    assert about["PatientID"] == PERSON["PatientID"] and about["StudyDate"] == PERSON["StudyDate"]  # type: ignore[index]
    assert about["PatientName"] == PERSON["PatientName"]  # type: ignore[index]


def test_without_the_extra_the_input_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classic(tmp_path / "in", SLICES)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    problem = only(tmp_path / "in").problem
    assert problem is not None and problem.code == "extra"
    assert "needs pydicom, which is not installed. In the checkout of lodbrain, run: pip install '.[dicom]'" in str(
        problem
    )


def test_another_process_in_another_folder_finds_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classic(tmp_path / "in", SLICES)
    monkeypatch.chdir(tmp_path)
    whole, by_file = (pickle.loads(pickle.dumps(only(Path(name)))) for name in ("in", "in/IM0003.dcm"))
    monkeypatch.chdir("/")
    for scan in (whole, by_file):
        with on_disk(scan.path, scan.series) as (nifti, _):
            assert nifti.is_file()
    (tmp_path / "in" / "IM0003.dcm").unlink()
    with pytest.raises(InputError, match=r"^in: dcm2niix failed on series 5"), on_disk(whole.path, whole.series):
        pass
