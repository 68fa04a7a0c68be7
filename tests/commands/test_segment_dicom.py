"""DICOM and MGZ through the command line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tiny_model import AFFINE, head, save_tiny_model

from lodbrain import commands
from lodbrain.images import Image, read_image, read_labels, write_nifti
from lodbrain.images.io import write_image

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    return lambda *words: commands.main(
        ["segment", *map(str, words), "-o", str(tmp_path / "out"), "--model", str(model)]
    )


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_series_among_others_is_named_and_segmented(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dcm2niix", reason="dcm2niix is not installed (extra dicom)")
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    from dicom_files import FLAIR, as_slices, write_classic

    write_classic(tmp_path / "export" / "a", as_slices(head()), series=4)
    write_classic(tmp_path / "export" / "b", as_slices(head()), series=9, header=FLAIR)
    assert run(tmp_path / "export") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "export: series 4 (t1-mprage-sag-p2) is selected, 32 slices of 30 x 36",
        "export: series 9 (t2-space-dark-fluid-sag) is skipped: FLAIR",
    ]
    stem = "series-4_t1-mprage-sag-p2"
    assert lines[2].startswith(f"export: {tmp_path}/out/{stem}_dseg.nii.gz, brain ")
    assert names(tmp_path / "out") == sorted(
        f"{stem}_{end}" for end in ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")
    )
    content = json.loads((tmp_path / "out" / f"{stem}_dseg.json").read_text())
    assert content["input"]["name"] == f"{stem}.nii"
    assert content["dicom"]["series"] == 4 and content["dicom"]["converter"].startswith("dcm2niix v1")


def test_one_bad_export_does_not_stop_the_other_scans(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dcm2niix", reason="dcm2niix is not installed (extra dicom)")
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    from dicom_files import as_slices, write_classic

    write_classic(tmp_path / "whole", as_slices(head()))
    write_classic(tmp_path / "missing", as_slices(head()), skip=(5,), study=2)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(70 * 2**20))
    cut = write_classic(tmp_path / "cut", as_slices(head()), study=3)[3]
    cut.write_bytes(cut.read_bytes()[:-200])
    assert run(*(tmp_path / name for name in ("whole", "missing", "bomb.zip", "cut"))) == 3
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in errors] == [
        str(tmp_path / name) for name in ("missing", "bomb.zip", "cut")
    ]
    assert len(names(tmp_path / "out")) == 4


def test_mgz_out_is_the_label_map_of_nifti_out(run: Run, tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", head(), Image(head(), AFFINE))
    assert run(tmp_path / "scan.nii.gz", "--posteriors") == 0
    nifti = read_labels(tmp_path / "out" / "scan_dseg.nii.gz")
    posteriors = np.asanyarray(nibabel.load(tmp_path / "out" / "scan_probseg.nii.gz").dataobj)
    assert run(tmp_path / "scan.nii.gz", "--posteriors", "--format", "mgz", "--report", "--overwrite") == 0
    assert names(tmp_path / "out") == [
        "scan_dseg.json", "scan_dseg.mgz", "scan_dseg.tsv", "scan_probseg.json", "scan_probseg.mgz", "scan_report.html",
        "scan_volumes.tsv",
    ]  # fmt: skip
    mgz = nibabel.load(tmp_path / "out" / "scan_dseg.mgz")
    np.testing.assert_array_equal(np.asanyarray(mgz.dataobj), nifti.data)
    np.testing.assert_allclose(mgz.affine, nifti.affine, atol=1e-4)
    written = np.asanyarray(nibabel.load(tmp_path / "out" / "scan_probseg.mgz").dataobj)
    np.testing.assert_array_equal(written, posteriors)
    # what reads results finds them, and resume knows them
    assert commands.main(["volumes", str(tmp_path / "out"), "-o", str(tmp_path / "all.csv")]) == 0
    assert commands.main(["report", str(tmp_path / "out")]) == 0


def test_resume_tells_mgz_from_nifti(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nifti(tmp_path / "scan.nii.gz", head(), Image(head(), AFFINE))
    assert run(tmp_path / "scan.nii.gz", "--format", "mgz") == 0
    capsys.readouterr()
    assert run(tmp_path / "scan.nii.gz", "--format", "mgz", "--resume") == 0
    assert "scan_dseg.mgz is complete, skipped" in capsys.readouterr().out
    assert run(tmp_path / "scan.nii.gz", "--resume") == 0
    assert [name for name in names(tmp_path / "out") if "dseg." in name] == [
        "scan_dseg.json", "scan_dseg.nii.gz", "scan_dseg.tsv",
    ]  # fmt: skip


def test_a_freesurfer_subject_gives_a_label_map_on_its_grid(run: Run, tmp_path: Path) -> None:
    mri = tmp_path / "subjects" / "bert" / "mri"
    mri.mkdir(parents=True)
    for name in ("T1.mgz", "aseg.mgz"):
        write_image(mri / name, head(), Image(head(), AFFINE))
    assert run(tmp_path / "subjects" / "bert", "--format", "mgz") == 0
    assert [name for name in names(tmp_path / "out") if name.endswith(".mgz")] == ["bert_dseg.mgz"]
    np.testing.assert_allclose(
        read_labels(tmp_path / "out" / "bert_dseg.mgz").affine, read_image(mri / "T1.mgz").affine, atol=1e-4
    )
