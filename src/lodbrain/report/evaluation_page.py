"""HTML page of an evaluation: a single self-contained file with figures and tables, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from lodbrain.report.evaluation_figures import DrawnFigure
from lodbrain.system.atomic import write_text
from lodbrain.version import __version__

#: A true minus sign, and the placeholder for missing values.
MINUS, DASH = "\u2212", "\u2013"


@dataclass(frozen=True)
class Cell:
    """A value with its interval in smaller print."""

    value: str
    range: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of a table; `strong` marks summary rows."""

    name: str
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table with its column headings; the first column has the names."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Section:
    """A section of the page; `id` is the target of links."""

    id: str
    heading: str
    text: str = ""
    figures: tuple[DrawnFigure, ...] = ()
    tables: tuple[PageTable, ...] = ()


def write_evaluation_page(
    path: Path,
    sections: Sequence[Section],
    *,
    title: str,
    summary: str,
    definitions: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Write the page atomically.

    All texts are escaped except the figures, which are SVG from matplotlib with escaped texts.

    Parameters
    ----------
    path : Path
    sections : sequence of Section
    title, summary : str
    definitions : mapping of str to str
        Metric -> definition.
    notes : sequence of str
        Notes shown at the top.
    """
    html = _template().render(
        title=title, summary=summary, sections=sections, definitions=definitions, notes=notes, version=__version__
    )
    write_text(path, html)


def number(value: float, digits: int = 3) -> str:
    """Format a number with a true minus sign, or an en dash if it is missing.

    Examples
    --------
    >>> number(-0.0312) == MINUS + "0.031", number(float("nan")) == DASH
    (True, True)
    """
    if value != value:
        return DASH
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)  # + 0.0: no negative zero


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("lodbrain").joinpath("resources", "report", "evaluation.html")
    return environment.from_string(source.read_text(encoding="utf-8"))
