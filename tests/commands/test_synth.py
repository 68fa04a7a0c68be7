from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodbrain import commands
from lodbrain.batch.cases import CaseOutcome
from lodbrain.commands import synth as workflow
from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    data = np.zeros((20, 20, 20), np.int16)
    data[4:16, 4:16, 4:16] = 2
    write_nifti(tmp_path / "map.nii.gz", data, Image(data, np.diag([4.0, 4.0, 4.0, 1.0])))
    return tmp_path / "map.nii.gz"


def test_synth_writes_pairs_and_names_their_scans(
    label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workflow, "MAP_MM", 4.0)
    words = ["synth", str(label_map), "-o", str(tmp_path / "out"), "-n", "1", "--voxel-size", "5"]
    assert commands.main(words) == 0
    scan = tmp_path / "out" / "sub-synth0001" / "anat" / "sub-synth0001_T1w.nii.gz"
    assert scan.is_file()
    assert capsys.readouterr() == (f"{scan}\n", "")
    assert commands.main(words) == 4
    assert "this output exists already" in capsys.readouterr().err
    assert commands.main([*words, "--resume"]) == 0
    assert capsys.readouterr().out == f"{scan} is complete, skipped\n"
    recipe = str(scan).replace(".nii.gz", ".json")
    assert commands.main(["synth", str(label_map), "-o", str(tmp_path / "again"), "--replay", recipe, "-q"]) == 0
    again = tmp_path / "again" / "sub-synth0001" / "anat" / scan.name
    assert again.read_bytes() == scan.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "1", "--voxel-size", "0"], "the voxel size must be above 0 mm, got 0"),
        (["-n", "0"], "the number must be at least 1, got 0"),
        ([], "say how many pairs to make (-n), or which to make again (--replay)"),
        (["-n", "1", "--replay", "a.json"], "say how many pairs to make (-n), or which to make again (--replay)"),
        (["-n", "1", "--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["-n", "1", "--contrast", "none.yaml"], "none.yaml: cannot be read"),
        (["-n", "1", "--device", "tpu"], "there is no device 'tpu'"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], message: str, label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["synth", str(label_map), "-o", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_wishes_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def synthesise(inputs: list[str], out: Path, number: int, **rest: Any) -> list[CaseOutcome]:
        asked.update(inputs=inputs, out=out, number=number, **rest)
        return [CaseOutcome(Path("a"), "failed", Path("b"), error=InputError("x", "a", "bad"))]

    monkeypatch.setattr(workflow, "synthesise", synthesise)
    words = [
        "synth",
        "a",
        "b",
        "-o",
        "out",
        "-n",
        "3",
        "--seed",
        "7",
        "--contrast",
        "c.yaml",
        "--contrast-share",
        "0.5",
    ]
    assert commands.main([*words, "--figure", "f.png", "--threads", "2", "--device", "cpu", "--overwrite"]) == 4
    assert (asked["inputs"], asked["out"], asked["number"]) == (["a", "b"], Path("out"), 3)
    assert (asked["seed"], asked["contrast"], asked["contrast_share"]) == (7, Path("c.yaml"), 0.5)
    assert (asked["figure"], asked["threads"], asked["device"]) == (Path("f.png"), 2, "cpu")
    assert (asked["voxel_mm"], asked["resume"], asked["overwrite"]) == (None, False, True)
