"""The pages as a person meets them: in a real browser, without a network."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headless import Visit, headless_browser
from PIL import Image as Picture

from lodbrain.commands.report import write_pages
from lodbrain.report.scan_page import write_scan_page
from lodbrain.report.sidecars import read_results

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 240_000

#: A file name that would be a script, if it were not escaped.
EVIL = "<script>document.title='broken in'<"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_browser() as started:
        yield started


@pytest.fixture(scope="module")
def folder(segmented: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a good scan and of one with a name like a script, with their pages and the group's."""
    folder = tmp_path_factory.mktemp("pages") / "out"
    shutil.copytree(segmented, folder)
    for path in list(folder.glob("head_*")):
        shutil.copy(path, folder / path.name.replace("head_", f"{EVIL}_"))
    write_pages(folder)
    return folder


class PageVisit(Visit):
    """An open report."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        super().__init__(browser, path.as_uri(), patience_ms=PATIENCE_MS, **options)

    def ready(self) -> "PageVisit":
        self.page.wait_for_selector('.stage[data-state="ready"]')
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def canvas(self) -> np.ndarray:
        self.settle()
        return np.asarray(Picture.open(io.BytesIO(self.page.locator("canvas").screenshot())).convert("RGB")).astype(int)

    def where(self) -> list[float]:
        return [float(mm) for mm in self.page.get_attribute("#where", "data-mm").split()]


@pytest.fixture(scope="module")
def visit(browser: Any, folder: Path) -> Iterator[PageVisit]:
    """The page of the good scan; each test leaves it as it found it."""
    opened = PageVisit(browser, folder / "head_report.html").ready()
    yield opened
    opened.context.close()


def test_a_page_asks_for_nothing_and_complains_of_nothing(visit: PageVisit, folder: Path) -> None:
    assert visit.requests == [(folder / "head_report.html").as_uri()]
    assert visit.complaints == []


def test_the_canvas_shows_the_scan_and_its_labels_in_colour(visit: PageVisit) -> None:
    shown = visit.canvas()
    grey = shown.mean(axis=2)
    assert grey.std() > 20 and (grey > 120).mean() > 0.02
    assert (np.ptp(shown, axis=2) > 40).mean() > 0.02


def test_a_click_on_a_structure_moves_the_cross_hair_into_it(visit: PageVisit) -> None:
    labels = visit.page.evaluate("JSON.parse(document.getElementById('data').textContent).labels")
    wanted = {label["index"]: label for label in labels}
    for index, selector in ((53, ".structures"), (12, ".volumes")):
        before = visit.canvas()
        visit.page.click(f'{selector} .go[data-index="{index}"]')
        # to within half a voxel, as the cross-hair lies on voxels
        np.testing.assert_allclose(visit.where(), wanted[index]["mm"], atol=2.1)
        assert visit.page.get_attribute("#where", "data-index") == str(index)
        assert wanted[index]["words"] in visit.page.inner_text("#where")
        assert np.abs(visit.canvas() - before).max() > 50


def test_a_click_on_a_slice_moves_the_cross_hair_there(visit: PageVisit) -> None:
    tile = visit.page.locator(".tile").nth(2)
    tile.click()
    mm = [float(part) for part in tile.get_attribute("data-mm").split()]
    np.testing.assert_allclose(visit.where(), mm, atol=2.1)


def test_opacity_changes_the_picture_down_to_bare_grey(visit: PageVisit) -> None:
    visit.page.click('.structures .go[data-index="10"]')
    before = visit.canvas()
    visit.page.evaluate("e = document.getElementById('opacity'); e.value = 0; e.dispatchEvent(new Event('input'))")
    bare = visit.canvas()
    assert np.abs(bare - before).max() > 40
    # what is left of colour is the cross-hair
    assert (np.ptp(bare, axis=2) > 40).mean() < 0.2 * (np.ptp(before, axis=2) > 40).mean()
    visit.page.evaluate("e.value = 45; e.dispatchEvent(new Event('input'))")
    np.testing.assert_array_equal(visit.canvas(), before)


def test_a_swatch_hides_its_structure(visit: PageVisit) -> None:
    before = visit.canvas()
    swatch = visit.page.locator('button.swatch[data-indices="3 42"]')
    swatch.click()
    assert swatch.get_attribute("aria-pressed") == "false"
    hidden = visit.canvas()
    assert (np.ptp(hidden, axis=2) > 40).sum() < 0.9 * (np.ptp(before, axis=2) > 40).sum()
    swatch.click()
    np.testing.assert_array_equal(visit.canvas(), before)


def test_arrow_keys_move_the_cross_hair_by_a_voxel(visit: PageVisit) -> None:
    visit.page.click('.structures .go[data-index="10"]')
    start = np.array(visit.where())
    visit.page.focus("canvas")
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowUp", 1, 1), ("PageUp", 2, 1), ("PageDown", 2, -1)):
        before = np.array(visit.where())
        visit.page.keyboard.press(key)
        moved = np.array(visit.where()) - before
        assert np.linalg.norm(moved) == pytest.approx(4, abs=0.1) and sign * moved[axis] > 3, key
    assert not np.allclose(visit.where(), start)


def test_tab_leads_through_the_controls_in_reading_order_and_shows_where_it_is(browser: Any, folder: Path) -> None:
    visit = PageVisit(browser, folder / "head_report.html").ready()
    order = []
    for _ in range(8):
        visit.page.keyboard.press("Tab")
        order.append(visit.page.evaluate("document.activeElement.id || document.activeElement.className"))
        outline = visit.page.evaluate(
            "(e => getComputedStyle(e.id === 'canvas' ? e.parentElement : e).outlineStyle)(document.activeElement)"
        )
        assert outline == "solid", order
    assert order[:6] == ["skip", "canvas", "opacity", "outlines", "view", "cross"] and order[6] == "swatch"
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    assert visit.complaints == []
    visit.context.close()


def test_dark_and_light_follow_the_system(browser: Any, folder: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        visit = PageVisit(browser, folder / "head_report.html", color_scheme=scheme)
        paper, ink = (
            visit.page.locator("body").evaluate(f"e => getComputedStyle(e).{name}")
            for name in ("backgroundColor", "color")
        )
        brightness[scheme] = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in (paper, ink)]
        visit.context.close()
    assert brightness["light"][0] > 240 > 60 > brightness["light"][1]
    assert brightness["dark"][0] < 40 < 200 < brightness["dark"][1]


@pytest.mark.parametrize("name", ["head_report.html", "index.html"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_screen(name: str, width: int, browser: Any, folder: Path) -> None:
    visit = PageVisit(browser, folder / name, viewport={"width": width, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.context.close()


def test_in_print_the_viewer_gives_way_and_outlines_stay(browser: Any, folder: Path) -> None:
    visit = PageVisit(browser, folder / "head_report.html").ready()
    visit.page.emulate_media(media="print")
    assert not visit.page.is_visible("canvas") and not visit.page.is_visible("#opacity")
    assert visit.page.is_visible(".volumes") and visit.page.locator(".tile .lines").first.is_visible()
    pdf = visit.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and 1 <= pdf.count(b"/Type /Page\n") <= 4
    visit.context.close()


def test_without_javascript_slices_and_volumes_are_there(browser: Any, folder: Path) -> None:
    visit = PageVisit(browser, folder / "head_report.html", java_script_enabled=False)
    assert visit.page.is_visible(".volumes") and visit.page.locator(".tile").first.is_visible()
    visit.context.close()


def test_a_script_in_a_scan_s_name_is_text(browser: Any, folder: Path) -> None:
    sidecar = folder / f"{EVIL}_dseg.json"
    results = read_results(sidecar)
    results.content["input"]["name"] = f"{EVIL}/script>.nii.gz"
    write_scan_page(results, folder / "head.nii.gz")
    for path, selector in ((results.page, "h1"), (folder / "index.html", "#table")):
        visit = PageVisit(browser, path)
        assert EVIL in visit.page.inner_text(selector)
        assert "broken in" not in visit.page.title().split("·")[-1]
        assert visit.page.evaluate("document.scripts.length") == visit.page.locator("script").count() <= 4
        assert visit.complaints == [] and len(visit.requests) == 1
        visit.context.close()


def test_the_group_page_sorts_finds_and_leads_to_the_scans(browser: Any, folder: Path) -> None:
    visit = PageVisit(browser, folder / "index.html")
    names = lambda: visit.page.locator("#table tbody tr:not([hidden]) th").all_inner_texts()  # noqa: E731
    assert names() == [EVIL, "head"]
    head = visit.page.locator("#table th").first
    head.locator("button").click()
    assert (names(), head.get_attribute("aria-sort")) == ([EVIL, "head"], "ascending")
    head.locator("button").click()
    assert (names(), head.get_attribute("aria-sort")) == (["head", EVIL], "descending")
    visit.page.fill("#find", "HEA")
    assert names() == ["head"] and visit.page.inner_text("#found") == "1 of 2"
    visit.page.click("#table tbody a:visible")
    assert visit.page.inner_text("h1") == "head.nii.gz"
    assert visit.complaints == []
    visit.context.close()
