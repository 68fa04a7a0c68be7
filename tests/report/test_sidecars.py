from collections.abc import Callable
from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.report.sidecars import ScanResults, find_sidecars, read_results


def test_volumes_and_labels_are_those_of_the_files(head: ScanResults) -> None:
    volumes = head.volumes_mm3()
    assert list(volumes)[-2:] == ["TIV", "brain"]
    assert volumes["brain"] == pytest.approx(volumes["TIV"] - volumes["CSF"])
    left = next(label for label in head.table() if label.name == "Left-Putamen")
    assert (left.index, left.hex_color, left.side) == (12, "#ec0db0", "left")
    assert next(label for label in head.table() if label.name == "Brain-Stem").side is None


def test_a_missing_table_of_volumes_gives_none(make_results: Callable[..., ScanResults]) -> None:
    results = make_results("a", {})
    results.path.with_name("a_volumes.tsv").unlink()
    assert results.volumes_mm3() == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"software": "other"}', "\x00"])
def test_what_is_no_sidecar_of_ours_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x_dseg.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x_dseg\.json"):
        read_results(path)


def test_parts_of_other_types_are_empty(make_results: Callable[..., ScanResults]) -> None:
    results = make_results("a", {}, execution=[1], notes={"x": 1}, quality="good")
    assert (results.part("execution", "seconds"), results.lines("notes"), results.part("quality")) == ({}, [], {})


def test_a_broken_colour_is_refused(make_results: Callable[..., ScanResults]) -> None:
    results = make_results("a", {})
    results.path.with_name("a_dseg.tsv").write_text("index\tname\tcolor\n1\tBrain\tred;} body{\n")
    with pytest.raises(InputError, match="table of its labels"):
        results.table()


def test_sidecars_are_found_in_folders_below_but_not_in_hidden_ones(
    make_results: Callable[..., ScanResults], tmp_path: Path
) -> None:
    wanted = [make_results("b", {}, tmp_path / "sub-1").path, make_results("a", {}, tmp_path / "sub-2" / "anat").path]
    make_results("c", {}, tmp_path / ".c.lodbrain")
    assert find_sidecars(tmp_path) == wanted
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no results"):
        find_sidecars(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        find_sidecars(tmp_path / "absent")
