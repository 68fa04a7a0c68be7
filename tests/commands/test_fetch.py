from pathlib import Path
from typing import Any

import pytest

from lodbrain.commands import fetch as cli_fetch
from lodbrain.commands import main
from lodbrain.datasets import labelmaps, openneuro
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


def test_openneuro_passes_on_what_was_asked_and_says_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[object, ...]] = []
    failed = openneuro.FetchedFile("b", "failed", InputError("download", "b", "could not be downloaded", "Try again"))

    def fetch(accession: str, out: Path, selection: openneuro.Selection, **options: Any) -> openneuro.FetchedDataset:
        asked.append((accession, out, selection, options["version"]))
        options["finished"](failed)
        return openneuro.FetchedDataset(
            out, "1.1.0", "CHANGES says 1.1.0", (openneuro.FetchedFile("a", "downloaded"), failed)
        )

    monkeypatch.setattr(cli_fetch, "fetch_dataset", fetch)
    words = [
        "fetch",
        "openneuro",
        "ds005216",
        "--version",
        "1.1.0",
        "--subject",
        "3",
        "sub-9",
        "--pattern",
        "*_T1w.nii",
        "-o",
    ]
    assert main([*words, str(tmp_path)]) == 3
    selection = openneuro.Selection(("3", "sub-9"), ("*_T1w.nii",))
    assert asked == [("ds005216", tmp_path, selection, "1.1.0")]
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}: version 1.1.0 (CHANGES says 1.1.0); 1 downloaded, 1 failed\n"
    assert err == "lodbrain: b: could not be downloaded. Try again\n"


def test_ultracortex_of_the_version_with_duplicates_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "ultracortex", "--version", "1.0.0", "-o", str(tmp_path)]) == 2
    assert "Use version 1.1.0" in capsys.readouterr().err
