"""Results of several models side by side: what is written."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lodbrain.commands.evaluate_groups import GroupSettings, compare_results, read_models
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.metric_files import write_rows
from lodbrain.evaluation.score import ScoreRow

PLACES = [("structure", "Brain-Stem", "midline"), ("merged", "Thalamus", "both"), ("tissue", "Grey-Matter", "both")]


def write_result(folder: Path, offset: float, cases: Sequence[str]) -> str:
    rng = np.random.default_rng(0)
    rows = [
        ScoreRow(
            case, level, name, side, "both", 0.8 + offset + 0.1 * rng.random(), 0.9, 2, 0.5, 0.9, 0.9, 1000 + 9 * n, 990
        )  # type: ignore[arg-type]
        for n, case in enumerate(cases)
        for level, name, side in PLACES
    ]
    folder.mkdir()
    write_rows(folder / "evaluation.tsv", rows)
    return str(folder)


CASES = [f"sub-{n}_ses-{s}" for n in range(4) for s in (1, 2)]


def write_inputs(folder: Path) -> list[str]:
    """Two models on two scans each of four subjects, and who they are."""
    (folder / "participants.tsv").write_text(
        "participant_id\tsite\tage\n" + "".join(f"sub-{n}\t{'AB'[n % 2]}\t{20 + 10 * n}\n" for n in range(4))
    )
    return [
        "<b>ours</b> & $x$=" + write_result(folder / "one", 0.02, CASES),
        write_result(folder / "two", 0.0, CASES),
    ]


def settings(folder: Path, **options: object) -> GroupSettings:
    given = {"participants": folder / "participants.tsv", "by": ("site", "age"), "cuts": {"age": (35.0,)}, **options}
    return GroupSettings(**given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and in out/ what is made of them: for tests that only read."""
    folder = tmp_path_factory.mktemp("groups")
    options = settings(folder, seen=("A",), title="<script>alert(1)</script>")
    compare_results(write_inputs(folder), folder / "out", options)
    return folder


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


def test_tables_figures_and_page_are_written(out: Path) -> None:
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    figures = {"regions", "comparison", "by-site", "by-age", "bland-altman", "retest"}
    assert names == {
        *(f"{name}.tsv" for name in ("means", "comparison", "agreement", "seen", "retest")),
        "groups.html",
        "groups.json",
        *(f"figures/{name}.{ending}" for name in figures for ending in ("svg", "png")),
    }


def test_the_tables_are_tidy(out: Path) -> None:
    lines = [line.split("\t") for line in (out / "means.tsv").read_text().splitlines()]
    assert " ".join(lines[0]) == "model column group level region side metric mean low high n missed invented"
    groups = {(line[1], line[2]) for line in lines[1:]}
    assert groups == {("all", "all"), ("site", "A"), ("site", "B"), ("age", "< 35"), ("age", "≥ 35")}
    comparison = [line.split("\t") for line in (out / "comparison.tsv").read_text().splitlines()]
    assert " ".join(comparison[0]) == "level region side metric one other difference low high n wins losses p p_holm"
    (grey,) = [line for line in comparison if line[1] == "Grey-Matter" and line[3] == "dice"]
    assert float(grey[6]) == pytest.approx(0.02, abs=1e-6)
    assert grey[9:12] == ["4", "4", "0"]


def test_the_page_escapes_names_and_loads_nothing(out: Path) -> None:
    page = (out / "groups.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>ours" not in page
    assert "&lt;b&gt;ours&lt;/b&gt; &amp; $x$" in page
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"", page) == []
    assert "default-src 'none'" in page
    for heading in (
        "Regions",
        "Models in pairs",
        "By site",
        "By age",
        "Seen and unseen sites",
        "Volumes",
        "Test-retest",
    ):
        assert f"<h2>{heading}</h2>" in page


def test_figures_are_drawings_with_text_that_follow_the_page(out: Path) -> None:
    root = ElementTree.parse(out / "figures" / "regions.svg").getroot()
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Thalamus", "Grey-Matter", "Dice", "<b>ours</b> & $x$"} <= texts
    page = (out / "groups.html").read_text()
    assert page.count("<svg") == 6
    assert "currentColor" in page
    assert "#1a1b1c" not in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_the_same_results_give_the_same_files(out: Path, folder: Path, tmp_path: Path) -> None:
    names = [f"<b>ours</b> & $x$={folder / 'one'}", str(folder / "two")]
    compare_results(names, tmp_path, settings(folder, seen=("A",), title="<script>alert(1)</script>"))
    for path in [*out.glob("*.tsv"), out / "groups.html", *out.glob("figures/*.svg")]:
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_the_record_says_how_it_was_made(out: Path) -> None:
    record = json.loads((out / "groups.json").read_text())
    assert record["cases"] == CASES
    assert record["groups"]["age"] == {"< 35": CASES[:4], "≥ 35": CASES[4:]}
    assert record["settings"]["seen"] == ["A"]


def test_results_of_one_name_are_put_together(tmp_path: Path) -> None:
    one, other = write_result(tmp_path / "a", 0, CASES[:2]), write_result(tmp_path / "b", 0, CASES[2:])
    models = read_models([f"m={one}", f"m={other}", other])
    assert list(models) == ["m", "b"]
    assert {row.case for row in models["m"]} == set(CASES)
    with pytest.raises(UsageError, match="m has sub-0_ses-1 in another result as well"):
        read_models([f"m={one}", f"m={one}"])


def test_one_model_needs_no_participants(tmp_path: Path) -> None:
    result = write_result(tmp_path / "a", 0, ["x", "y", "z"])
    found = compare_results([result], tmp_path / "out", GroupSettings(cuts={}))
    assert found.models == ("a",)
    assert not (tmp_path / "out" / "comparison.tsv").exists()
    assert "Models in pairs" not in (tmp_path / "out" / "groups.html").read_text()


def test_volumes_alone_give_test_retest(tmp_path: Path) -> None:
    for case, volume in (("sub-1_ses-1", 7000), ("sub-1_ses-2", 7070)):
        (tmp_path / f"{case}_T1w_volumes.tsv").write_text(f"index\tname\tvolume_mm3\n16\tBrain-Stem\t{volume}\n")
    found = compare_results([f"x={tmp_path}"], tmp_path / "out", GroupSettings(cuts={}))
    assert [round(each.found.within_sd_mm3, 3) for each in found.retests] == [49.497]
    assert "<h2>Test-retest</h2>" in (tmp_path / "out" / "groups.html").read_text()


def test_mistakes_are_named_before_any_work(tmp_path: Path) -> None:
    results = write_inputs(tmp_path)
    with pytest.raises(UsageError, match="groups of cases need --participants"):
        compare_results(results, tmp_path / "out", settings(tmp_path, participants=None))
    with pytest.raises(UsageError, match=r"no case has site 'C'\. There are: A, B"):
        compare_results(results, tmp_path / "out", settings(tmp_path, seen=("C",)))
    assert not (tmp_path / "out").exists()


def test_results_that_are_there_are_kept(tmp_path: Path) -> None:
    result = write_result(tmp_path / "a", 0, ["x", "y"])
    (tmp_path / "out").mkdir()
    for name in ("groups.json", "comparison.tsv"):
        (tmp_path / "out" / name).write_text("of an earlier run")
    with pytest.raises(InputError, match="this output exists already"):
        compare_results([result], tmp_path / "out", GroupSettings(cuts={}))
    assert (tmp_path / "out" / "groups.json").read_text() == "of an earlier run"
    compare_results([result], tmp_path / "out", GroupSettings(cuts={}, overwrite=True))
    assert not (tmp_path / "out" / "comparison.tsv").exists()
