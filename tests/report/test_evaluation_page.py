"""The page of an evaluation."""

import math
from pathlib import Path

import pytest

from lodbrain.evaluation.statistic_records import RegionPlace
from lodbrain.report.evaluation_figures import DrawnFigure
from lodbrain.report.evaluation_page import (
    DASH,
    Cell,
    PageTable,
    Section,
    TableRow,
    in_order,
    is_shown,
    name_of,
    number,
    write_evaluation_page,
)
from lodbrain.report.pages import MINUS

EVIL = "<img src=x onerror=alert(1)>&\"'"


def test_every_text_is_escaped(tmp_path: Path) -> None:
    table = PageTable(EVIL, (EVIL, EVIL), (TableRow(EVIL, (Cell(EVIL, EVIL),), strong=True),))
    section = Section("part", EVIL, EVIL, (DrawnFigure("f", EVIL, "<svg></svg>"),), (table,))
    path = tmp_path / "page.html"
    write_evaluation_page(path, [section], title=EVIL, summary=EVIL, definitions={EVIL: EVIL}, notes=[EVIL])
    page = path.read_text()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;") == 18
    assert "<svg></svg>" in page


@pytest.mark.browser
def test_the_page_asks_for_nothing_and_complains_of_nothing(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no chromium here")
    path = tmp_path / "page.html"
    section = Section("part", "Part", figures=(DrawnFigure("f", "A figure", '<svg viewBox="0 0 9 9"></svg>'),))
    write_evaluation_page(path, [section], title="T", summary="S", definitions={"Dice": "overlap"})
    asked, said = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        assert page.get_by_role("heading", level=1).inner_text() == "T"
        browser.close()
    assert asked == [path.as_uri()]
    assert said == []


def test_numbers_have_a_true_minus_and_missing_ones_a_dash() -> None:
    assert number(-0.12345) == f"{MINUS}0.123"
    assert number(2.5, 1) == "2.5"
    assert number(-0.0001) == "0.000"
    assert number(math.nan) == DASH


def test_regions_are_named_and_ordered_for_people() -> None:
    thalamus, brainstem = RegionPlace("merged", "Thalamus", "both"), RegionPlace("structure", "Brain-Stem", "midline")
    tissue, mean = RegionPlace("tissue", "Brain-Stem", "both"), RegionPlace("merged", "mean", "both")
    assert [name_of(p) for p in (thalamus, brainstem, tissue, mean)] == [
        "Thalamus",
        "Brain-Stem",
        "Brain-Stem (tissue)",
        "mean of structures",
    ]
    assert in_order([tissue, mean, brainstem, thalamus]) == [brainstem, thalamus, mean, tissue]
    assert not is_shown(RegionPlace("structure", "Thalamus", "left"))
    assert is_shown(thalamus)
