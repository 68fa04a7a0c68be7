from pathlib import Path

import pytest

from lodbrain.cli import main
from lodbrain.datasets import labelmaps
from lodbrain.errors import InputError


def test_labelmaps_go_where_asked_and_the_last_line_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path | None] = []

    def fetch(folder: Path | None, *, progress: labelmaps.Progress | None) -> Path:
        asked.append(folder)
        return folder or tmp_path / "cache"

    monkeypatch.setattr(labelmaps, "fetch_labelmaps", fetch)
    assert main(["fetch", "labelmaps", "-o", str(tmp_path / "maps")]) == 0
    assert capsys.readouterr().out == f"20 label maps in {tmp_path / 'maps'}\n"
    assert main(["fetch", "labelmaps"]) == 0
    assert capsys.readouterr().out == f"20 label maps in {tmp_path / 'cache'}\n"
    assert asked == [tmp_path / "maps", None]


def test_failed_download_is_one_line_and_exit_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(folder: Path | None, *, progress: labelmaps.Progress | None) -> Path:
        raise InputError("download", "x.nii.gz", "could not be downloaded", "Check the network")

    monkeypatch.setattr(labelmaps, "fetch_labelmaps", fetch)
    assert main(["fetch", "labelmaps"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "lodbrain: x.nii.gz: could not be downloaded. Check the network"
