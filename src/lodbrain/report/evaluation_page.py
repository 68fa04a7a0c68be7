"""HTML page of an evaluation: a single self-contained file with figures and tables, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lodbrain.report.evaluation_figures import DrawnFigure
from lodbrain.report.pages import MINUS, render_static
from lodbrain.system.atomic import write_text

#: Placeholder for missing values.
DASH = "\u2013"


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

    All texts are escaped except the figures, which are SVG from matplotlib with escaped texts. `definitions` are by
    metric; `notes` are shown at the top.
    """
    values = {"title": title, "summary": summary, "sections": sections, "definitions": definitions, "notes": notes}
    write_text(path, render_static("evaluation.html", **values))


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
