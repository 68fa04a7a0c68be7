"""Figures of an evaluation: every value is drawn where it belongs."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.image import imread

from lodbrain.report.evaluation_figures import COLOURS, Dot, DrawnFigure, dot_panels, scatter_panels

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[DrawnFigure, Path]:
    folder = tmp_path_factory.mktemp("figures")
    dots = [
        Dot("first", "a", 0.25, 0.2, 0.3, single=(0.2, 0.3)),
        Dot("second", "a", 0.75, 0.7, 0.8),
        Dot("first", "b", 0.5, math.nan, math.nan, filled=False),
    ]
    panels = {"Dice": dots}
    figure = dot_panels("dots", "A caption", panels, folder, rows=["first", "second"], series=["a", "b"])
    return figure, folder


def test_dots_stand_at_their_values(drawn: tuple[DrawnFigure, Path]) -> None:
    """Positions in the drawing are a linear function of the values, one colour for each series."""
    _, folder = drawn
    root = ElementTree.parse(folder / "dots.svg").getroot()
    uses = [
        (float(use.attrib["x"]), float(use.attrib["y"]), use.attrib["style"].lower())
        for use in root.iter(f"{SVG}use")
        if "stroke-width: 0.9" in use.attrib.get("style", "")  # the means; not single values, not the legend
    ]
    axes = [(x, y) for x, y, style in uses if f"stroke: {COLOURS[0].lower()}" in style]
    (x25, y25), (x75, y75) = sorted(set(axes))[0], sorted(set(axes))[-1]
    ((x50, y50),) = {(x, y) for x, y, style in uses if f"stroke: {COLOURS[1].lower()}" in style}
    assert x50 == pytest.approx((x25 + x75) / 2, abs=0.01)
    assert y25 < y50 < y75  # first row above the second, b below a


def test_the_inlined_drawing_follows_the_page(drawn: tuple[DrawnFigure, Path]) -> None:
    figure, _ = drawn
    start = figure.inline.split(">", 1)[0]
    assert "viewBox" in start
    assert not re.search(r" (width|height)=", start)
    assert "currentColor" in figure.inline
    assert "#ffffff" not in figure.inline
    identifiers = re.findall(r'\bid="([^"]+)"', figure.inline)
    assert identifiers
    assert all(name.startswith("dots-") for name in identifiers)
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', figure.inline)
    assert set(references) <= set(identifiers)


def test_the_png_is_for_print(drawn: tuple[DrawnFigure, Path]) -> None:
    _, folder = drawn
    assert imread(folder / "dots.png").shape[1] == pytest.approx(7.2 * 300, abs=1)


def test_text_of_others_is_text(tmp_path: Path) -> None:
    name = "<b> $\\frac{$ & größer"
    figure = dot_panels("x", "", {"Dice": [Dot(name, name, 1, 0, 2)]}, tmp_path, rows=[name], series=[name, "b"])
    texts = [element.text for element in ElementTree.fromstring(figure.inline).iter(f"{SVG}text")]
    assert texts.count(name) == 2  # the row and the legend


def test_the_style_of_others_is_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    panels = {"Thalamus": {"a": ([6.0, 7.0], [1.0, -1.0], (0.0, -2.0, 2.0))}}
    scatter_panels("s", "", panels, tmp_path, series=["a"], x="ml", y="%")
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.png", "s.svg"]
