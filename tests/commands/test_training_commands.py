"""`plan`, `compare`, `evaluate calibration` and `adapt` as they are called, on heads and models that take seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_model import save_tiny_model

from lodbrain import commands
from lodbrain.images import Image, write_nifti
from lodbrain.inference.calibration import read_calibration
from lodbrain.models import zoo
from lodbrain.training.adaptation_config import AdaptSettings
from lodbrain.training.requirements import LevelRequirements, Trial

#: Inside of each radius: label on the left, on the right.
SHELLS = ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.3, 10, 49))


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder with two label maps of 5 mm, the same head."""
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (30, 34, 28)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    raw = np.zeros(radius.shape, np.int16)
    for limit, left, right in SHELLS:
        raw[radius < limit] = np.where(x < 0, left, right)[radius < limit]
    (tmp_path / "maps").mkdir()
    for name in ("head", "other"):
        write_nifti(tmp_path / "maps" / f"{name}.nii.gz", raw, Image(raw, np.diag([5.0, 5.0, 5.0, 1.0])))
    return tmp_path / "maps"


def config(tmp_path: Path, maps: Path, name: str, **changes: Any) -> Path:
    """A YAML file of a training of two levels, of 8 and 4 mm."""
    fields = {
        "name": name, "out": str(tmp_path / "run"), "labelmaps": str(maps), "train": ["head"], "validate": ["other"],
        "generator": {"field_of_view": {"voxel_mm": [5.0, 7.0]}},
        "bfloat16": False, "warm_up": 2, "pictures": False, "device": "cpu", "validation_scans": 1,
        "levels": [
            {"exponent": 3, "channels": [4, 8], "steps": 6},
            {"exponent": 2, "channels": [4, 8], "steps": 4, "sided": False, "crop": [12, 16, 12], "halo": 4},
        ],
    }  # fmt: skip
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**fields, **changes}))
    return path


def test_plan_shows_every_level_without_a_trial(tmp_path: Path, maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, maps, "tiny")
    assert commands.main(["plan", str(path), "--steps", "0", "--memory", "8GB", "2MB"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    for level in ("8", "4"):
        assert len([line for line in lines if line[1:3] == [level, "mm"]]) == 1
    assert "12x16x12" in text
    assert not (tmp_path / "run").exists()


def test_plan_tells_which_memories_the_trial_fits_into(
    tmp_path: Path, maps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = (
        LevelRequirements("8 mm", (40, 48, 40), 6, Trial(2 * 10**9, 3.0)),
        LevelRequirements("4 mm", (12, 16, 12), 0, None),
    )
    monkeypatch.setattr("lodbrain.training.requirements.measure_requirements", lambda config, **options: levels)
    path = config(tmp_path, maps, "tiny")
    assert commands.main(["plan", str(path), "--memory", "2GB", "3GB"]) == 0
    lines = [line.replace("│", "").split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line[:2] in (["8", "mm"], ["4", "mm"])]
    assert rows == [
        ["8", "mm", "40x48x40", "1", "1.86", "3.00", "0", "min"],
        ["4", "mm", "12x16x12", "1", "-", "-", "-"],
        ["8", "mm", "no", "yes"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "-1"], "steps must be 0 or more, got -1"),
        (["--memory", "much"], "memory must be an amount like 4GB"),
    ],
)
def test_plan_refuses_what_makes_no_sense(
    words: list[str], message: str, tmp_path: Path, maps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["plan", str(config(tmp_path, maps, "tiny")), *words]) == 2
    assert message in capsys.readouterr().err


def test_compare_trains_and_scores_each_configuration(
    tmp_path: Path, maps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    level = [{"exponent": 2, "seconds": 1}]
    paths = [
        config(tmp_path, maps, "mesh", architecture="meshnet", options={"channels": 5}, levels=level),
        config(tmp_path, maps, "unet", architecture="dynunet", options={"channels": [4, 8, 8, 8]}, levels=level),
    ]
    out = tmp_path / "out"
    assert commands.main(["compare", *map(str, paths), "-o", str(out), "--seconds", "0.2", "--scans", "1"]) == 0
    assert f"wrote {out / 'comparison.md'}" in capsys.readouterr().out.replace("\n", "")
    rows = json.loads((out / "comparison.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["mesh", "unet"]
    assert rows[0]["parameters"] == 5 * 27 + 8 * 25 * 27 + 9 * 10 + 33 * 6
    assert commands.main(["compare", str(paths[0]), "-o", str(out), "--scans", "0"]) == 2
    assert "scans must be 1 or more, got 0" in capsys.readouterr().err


def test_calibration_writes_a_model_that_holds_it(
    tmp_path: Path, maps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = save_tiny_model(tmp_path / "tiny.safetensors", [{"exponent": 3, "channels": [4]}]), tmp_path / "out"
    words = ["--model", str(model), "--maps", str(maps / "head.nii.gz"), "-n", "9", "-o", str(out), "--quiet"]
    assert commands.main(["evaluate", "calibration", *words]) == 0
    assert capsys.readouterr().out == ""
    card, _ = zoo.load(str(out / "tiny.safetensors"))
    found = read_calibration(card.calibration)
    assert set(found) == {3}
    record = json.loads((out / "calibration.json").read_text())
    assert {path.name for path in out.iterdir()} >= {"calibration.json", "intervals.tsv", "reliability.png"}
    assert all(0.1 <= one.temperature <= 10 for one in found.values())
    assert record
    assert commands.main(["evaluate", "calibration", *words[:4], "-n", "1", "-o", str(out)]) == 2
    assert "1 draws are too few" in capsys.readouterr().err


def test_adapt_hands_its_options_on_and_says_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    class Report:
        kept, base, verdict = True, "default", ("100% of the way: yes",)

    def run(inputs: list[str], out: Path, settings: AdaptSettings, **named: Any) -> Report:
        asked.append((inputs, out, settings))
        named["report"]("tuning")
        return Report()

    monkeypatch.setattr("lodbrain.training.adaptation.adapt", run)
    out = tmp_path / "mine.safetensors"
    words = ["adapt", "a.nii.gz", "b.nii.gz", "-o", str(out), "--minutes", "2", "--labelmaps", "maps", "--frame", "1"]
    assert commands.main(words) == 0
    settings = AdaptSettings(minutes=2, labelmaps=Path("maps"), frame=1)
    assert asked == [(["a.nii.gz", "b.nii.gz"], out, settings)]
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("tuning 100% of the way: yes wrote")
    assert text.endswith("(kept the tuned model) and mine_adapt.md")
    assert commands.main(["adapt", "a.nii.gz", "-o", str(out), "--minutes", "0"]) == 2
    assert "minutes must be above 0" in capsys.readouterr().err


def test_adapt_without_label_maps_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LODBRAIN_DATA", raising=False)
    assert commands.main(["adapt", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "mine.safetensors")]) in (3, 4)
    assert "or name a folder of your own with --labelmaps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
