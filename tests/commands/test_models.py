from pathlib import Path

import pytest

from lodbrain.commands import main
from lodbrain.models import zoo
from lodbrain.models.card import Card


@pytest.fixture
def wrong_file(own_cache: Path, elsewhere: Card) -> Path:
    path = own_cache / elsewhere.name / elsewhere.file
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    return path


def test_list_names_every_model_with_its_size_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lod-brain-2024 ")]
    assert lines[0].strip().split(maxsplit=4) == ["lod-brain-2024", "tissue", "337,719", "MIT", "in the package"]


def test_list_knows_a_model_whose_weights_are_elsewhere(elsewhere: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert any("elsewhere" in line and "to be downloaded" in line for line in capsys.readouterr().out.splitlines())


def test_show_tells_hash_address_and_citation_unbroken(elsewhere: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "elsewhere"]) == 0
    out = capsys.readouterr().out
    for value in (elsewhere.sha256, elsewhere.url, elsewhere.citation, "lodbrain models get elsewhere"):
        assert value in out


@pytest.mark.usefixtures("elsewhere")
def test_verify_passes_over_what_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    assert "elsewhere: not downloaded" in capsys.readouterr().out


@pytest.mark.usefixtures("elsewhere")
def test_verify_of_a_model_that_is_not_here_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "elsewhere"]) == 5
    assert "lodbrain models get elsewhere" in capsys.readouterr().err


def test_verify_and_get_end_with_5_on_a_wrong_file(wrong_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["verify"], ["verify", "elsewhere"], ["get", "elsewhere"]):
        assert main(["models", *words]) == 5
        assert capsys.readouterr().err.startswith(f"lodbrain: {wrong_file}: is not the file of elsewhere")
    assert wrong_file.read_bytes() == b"other weights"


def test_show_names_the_members_of_a_consensus_with_weights_and_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "accurate"]) == 0
    out = capsys.readouterr().out
    for name, weight in zoo.members(zoo.card("accurate")).items():
        assert f"{name}, weight {weight:g}, {zoo.card(name).sha256}" in out


def test_verify_and_get_of_a_consensus_look_at_every_member(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "accurate"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: ok, {zoo.locate(zoo.card(name))}" for name in ("default", "lod-brain-2024")
    ]
    assert main(["models", "get", "accurate"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_unknown_model_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_get_and_verify_find_the_published_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "get", "lod-brain-2024"]) == 0
    path = capsys.readouterr().out.strip()
    assert path == str(zoo.MODELS / "lod-brain-2024.safetensors")
    assert main(["models", "verify", "lod-brain-2024"]) == 0
    assert capsys.readouterr().out == f"lod-brain-2024: ok, {path}\n"
