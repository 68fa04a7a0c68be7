"""`lodbrain evaluate` as people call it."""

from pathlib import Path

import numpy as np
import pytest

from lodbrain.commands import main
from lodbrain.images import Image, write_nifti


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    labels = np.zeros((12, 10, 9), np.int16)
    labels[3:7, 3:7, 3:7] = 10
    labels[3:7, 3:7, 7:8] = 49
    for n in (1, 2):
        for folder, shift in (("pred", 0), ("ref", n - 1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            moved = np.roll(labels, shift, axis=0)
            write_nifti(tmp_path / folder / f"sub-{n}_dseg.nii.gz", moved, Image(moved, np.eye(4)))
    return tmp_path


def evaluate(maps: Path, *words: str) -> int:
    return main(["evaluate", "labels", "--pred", str(maps / "pred"), "--ref", str(maps / "ref"), *words])


def test_a_table_of_means_is_shown_and_files_are_written(maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(maps, "-o", str(maps / "out")) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert lines["region"][:4] == ["Dice", "volume", "HD95", "mm"]
    assert lines["Thalamus"][:2] == ["0.875", "1.000"]
    assert lines["Basal-Ganglia"][:2] == ["0.875", "1.000"]
    assert "left Thalamus" not in shown
    assert sorted(path.name for path in (maps / "out").iterdir()) == ["evaluation.json", "evaluation.tsv"]


def test_sides_are_shown_on_request(maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(maps, "--sides", "--overlap-only") == 0
    shown = capsys.readouterr().out
    assert "left Thalamus" in shown
    assert "right Thalamus" in shown
    assert "HD95" not in shown


def test_quiet_prints_errors_only_and_a_missing_prediction_is_one(
    maps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (maps / "pred" / "sub-2_dseg.nii.gz").unlink()
    assert evaluate(maps, "-q") == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "sub-2_dseg.nii.gz: no label map in" in captured.err


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (("--ref-table", "none.tsv"), 2, "none.tsv: this is no label table"),
        (("--ref-pattern", "*x"), 4, "no label map in this folder that fits '*x'"),
    ],
)
def test_wrong_use_is_one_line(
    maps: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, what: str
) -> None:
    assert evaluate(maps, *words) == status
    err = capsys.readouterr().err
    assert what in err
    assert err.count("\n") == 1


def test_results_become_a_page(maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(maps, "-o", str(maps / "model"), "-q") == 0
    people = maps / "participants.tsv"
    people.write_text("participant_id\tage\nsub-1\t30\nsub-2\t60\n")
    command = ["evaluate", "groups", str(maps / "model"), f"b={maps / 'model'}", "-o", str(maps / "page")]
    assert main([*command, "--participants", str(people), "--by", "age", "--cut", "age=40"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(maps / "page" / "groups.html")
    assert (maps / "page" / "figures" / "by-age.png").stat().st_size > 5000
    assert main([*command, "--cut", "age"]) == 2
    assert "--cut 'age' is not like age=40,60" in capsys.readouterr().err
