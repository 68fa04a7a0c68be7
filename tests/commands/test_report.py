from pathlib import Path

import pytest

from lodbrain import commands
from lodbrain.report import segment_pages as pages


def test_segment_with_report_leaves_a_page_and_resume_makes_a_lost_one(
    head_4mm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", str(head_4mm), "-o", str(tmp_path / "out"), "--device", "cpu", "--report"]
    assert commands.main(words) == 0
    page = tmp_path / "out" / "head_report.html"
    assert page.read_text().startswith("<!doctype html>")
    page.unlink()
    assert commands.main([*words, "--resume"]) == 0
    assert page.is_file() and "skipped" in capsys.readouterr().out


def test_report_prints_the_index_and_says_what_is_missing(
    head_4mm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert commands.main(["segment", str(head_4mm), "-o", str(out), "--device", "cpu", "--quiet"]) == 0
    (out / "bad_dseg.json").write_text("[]")
    assert commands.main(["report", str(out)]) == 3
    text = capsys.readouterr()
    assert text.out == f"{out}/index.html: 1 pages made, 0 up to date\n"
    assert "bad_dseg.json: lodbrain did not write it" in text.err and "Name their folder with --scans" in text.err
    (out / "bad_dseg.json").unlink()
    assert commands.main(["report", str(out), "--scans", str(head_4mm.parent), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_folder_without_results_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["report", str(tmp_path)]) == 4
    assert "no results" in capsys.readouterr().err


def test_a_missing_extra_is_found_before_any_work(
    head_4mm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    assert commands.main(["segment", str(head_4mm), "-o", str(tmp_path / "out"), "--report"]) == 2
    assert "pip install '.[report]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
