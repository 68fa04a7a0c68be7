from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodbrain import commands
from lodbrain.batch.cases import CaseOutcome
from lodbrain.commands import labels_make as workflow
from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.segmentation.settings import Settings


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    data = np.zeros((8, 8, 8), np.int16)
    data[2:6, 2:6, 2:6] = 17
    write_nifti(tmp_path / "map.nii.gz", data, Image(data, np.eye(4)))
    return tmp_path / "map.nii.gz"


def test_upsample_writes_the_map_and_one_line(
    label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        commands.main(["labels", "upsample", str(label_map), "-o", str(tmp_path / "out"), "--voxel-size", "0.5"]) == 0
    )
    assert read_labels(tmp_path / "out" / "map.nii.gz").shape == (16, 16, 16)
    assert capsys.readouterr() == (f"map.nii.gz: {tmp_path}/out/map.nii.gz\n", "")
    words = ["labels", "upsample", str(label_map), "-o", str(tmp_path / "out"), "--voxel-size", "0.5", "--resume"]
    assert commands.main(words) == 0
    assert capsys.readouterr().out == f"map.nii.gz: {tmp_path}/out/map.nii.gz is complete, skipped\n"


@pytest.mark.parametrize("size", ["0", "-1", "nan", "99"])
def test_impossible_voxel_size_is_wrong_usage(
    size: str, label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        commands.main(["labels", "upsample", str(label_map), "-o", str(tmp_path / "out"), f"--voxel-size={size}"]) == 2
    )
    assert capsys.readouterr().err.startswith("lodbrain: the voxel size must be ")
    assert not (tmp_path / "out").exists()


def test_missing_map_is_a_failed_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["labels", "upsample", str(tmp_path / "no.nii"), "-o", str(tmp_path / "out"), "--voxel-size", "1"]
    assert commands.main(words) == 4
    assert capsys.readouterr().err.startswith(f"lodbrain: {tmp_path}/no.nii: there is no such file")


def test_make_passes_on_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def make_maps(inputs: list[str], out: Path, settings: Settings, *, given: Any, finished: Any, **_: Any) -> Any:
        asked.extend([inputs, out, settings, given])
        outcomes = [
            CaseOutcome(Path("a.nii"), "done", Path("out/a.nii.gz"), ("No eyes were found.",)),
            CaseOutcome(Path("b.nii"), "failed", Path("out/b.nii.gz"), error=InputError("x", "b.nii", "bad")),
        ]
        for outcome in outcomes:
            finished(outcome)
        return outcomes

    monkeypatch.setattr(workflow, "make_maps", make_maps)
    words = "a.nii b.nii -o out --labels seg --model m --device cpu --memory 2GiB --threads 3 --frame 1 --overwrite"
    assert commands.main(["labels", "make", *words.split()]) == 3
    settings = Settings(model="m", device="cpu", memory_bytes=2 << 30, threads=3, frame=1, overwrite=True)
    assert asked == [["a.nii", "b.nii"], Path("out"), settings, Path("seg")]
    assert capsys.readouterr() == ("a.nii: out/a.nii.gz No eyes were found.\n", "lodbrain: b.nii: bad\n")


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["make"], ["upsample", "--voxel-size", "1"]):
        assert commands.main(["labels", *command, "x.nii", "-o", str(tmp_path), "--resume", "--overwrite"]) == 2
    assert capsys.readouterr().err.count("exclude each other") == 2
