from pathlib import Path

import pytest

from lodbrain.cli import main
from lodbrain.models import zoo


@pytest.fixture
def wrong_file(own_cache: Path) -> Path:
    path = own_cache / "lod-brain-2024" / "weights_lv1.h5"
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    return path


def test_list_names_every_model_with_its_size_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lod-brain-2024 ")]
    assert lines[0].split(maxsplit=4) == ["lod-brain-2024", "tissue", "337,719", "MIT", "to be downloaded"]


def test_show_tells_hash_address_and_citation_unbroken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "lod-brain-2024"]) == 0
    out = capsys.readouterr().out
    card = zoo.card("lod-brain-2024")
    for value in (card.sha256, card.url, card.citation, "lodbrain models get lod-brain-2024"):
        assert value in out


def test_verify_passes_over_what_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    assert "lod-brain-2024: not downloaded" in capsys.readouterr().out


def test_verify_of_a_model_that_is_not_here_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "lod-brain-2024"]) == 5
    assert "lodbrain models get lod-brain-2024" in capsys.readouterr().err


def test_verify_and_get_end_with_5_on_a_wrong_file(wrong_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["verify"], ["verify", "lod-brain-2024"], ["get", "lod-brain-2024"]):
        assert main(["models", *words]) == 5
        assert capsys.readouterr().err.startswith(f"lodbrain: {wrong_file}: is not the file of lod-brain-2024")
    assert wrong_file.read_bytes() == b"other weights"


def test_unknown_model_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.data
def test_get_and_verify_find_the_published_file(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LODBRAIN_CACHE", str(data_dir / "peers"))
    assert main(["models", "get", "lod-brain-2024"]) == 0
    path = capsys.readouterr().out.strip()
    assert path == str(data_dir / "peers" / "lod-brain-2024" / "weights_lv1.h5")
    assert main(["models", "verify", "lod-brain-2024"]) == 0
    assert capsys.readouterr().out == f"lod-brain-2024: ok, {path}\n"
