import json
from pathlib import Path

import pytest

from lodbrain.commands import main
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.volume_table import Volume, volumes_tsv


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = [Volume(label.index, label.name, 8.0, 9.0) for label in STRUCTURES[1:]]
    volumes = (*rows, Volume(None, "TIV", 300.0, 301.0), Volume(None, "brain", 200.0, 201.0))
    for stem in ("a", "b"):
        outputs = Outputs(tmp_path / "out", stem)
        outputs.folder.mkdir(exist_ok=True)
        outputs.volumes.write_text(volumes_tsv(volumes))
        content = {"software": "lodbrain", "files": {outputs.volumes.name: 1}, "grid": {"voxel_volume_mm3": 1.0}}
        outputs.sidecar.write_text(json.dumps(content))
    return tmp_path / "out"


def test_a_csv_of_all_scans(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volumes", str(results), "-o", str(tmp_path / "volumes.csv")]) == 0
    lines = (tmp_path / "volumes.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [["a", "301.000", "9.000"], ["b", "301.000", "9.000"]]
    assert capsys.readouterr().out == f"{tmp_path}/volumes.csv: 2 scans\n"


def test_a_subjects_folder_for_asegstats2table(results: Path, tmp_path: Path) -> None:
    assert main(["volumes", str(results), "-o", str(tmp_path / "subjects"), "--format", "freesurfer"]) == 0
    found = sorted(
        path.relative_to(tmp_path / "subjects").as_posix() for path in (tmp_path / "subjects").rglob("*.stats")
    )
    assert found == ["a/stats/aseg.stats", "b/stats/aseg.stats"]


@pytest.fixture
def mirrored(results: Path) -> Path:
    """Results of two scans of one name."""
    for stem in ("a", "b"):
        folder = results / f"s{stem}" / "mri"
        folder.mkdir(parents=True)
        for path in Outputs(results, stem).existing():
            text = path.read_text().replace(f"{stem}_volumes", "orig_volumes")
            (folder / path.name.replace(f"{stem}_", "orig_", 1)).write_text(text)
            path.unlink()
    return results


def test_scans_of_one_name_are_told_apart_by_their_folders(mirrored: Path, tmp_path: Path) -> None:
    assert main(["volumes", str(mirrored), "-o", str(tmp_path / "volumes.csv")]) == 0
    lines = (tmp_path / "volumes.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["sa/mri/orig", "sb/mri/orig"]
    assert main(["volumes", str(mirrored), "-o", str(tmp_path / "subjects"), "--format", "freesurfer"]) == 0
    found = sorted(path.relative_to(tmp_path / "subjects") for path in (tmp_path / "subjects").rglob("*.stats"))
    assert found == [Path(f"s{stem}/mri/orig/stats/aseg.stats") for stem in "ab"]


def test_no_results_is_4_and_a_folder_as_csv_is_6(results: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["volumes", str(tmp_path / "empty"), "-o", str(tmp_path / "v.csv")]) == 4
    assert main(["volumes", str(results), "-o", str(tmp_path / "empty")]) == 6


def test_labels_are_exported_to_a_file_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "export", "slicer", "--labels", "tissue"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[2:4] == ["0 Background 0 0 0 0", "1 Grey-Matter 205 62 78 255"]
    assert main(["labels", "export", "slicer", "--labels", "tissue", "-o", str(tmp_path / "t.ctbl")]) == 0
    assert (tmp_path / "t.ctbl").read_text() == printed
