"""HTML page of an evaluation, a single self-contained file without scripts; names and order of what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lodbrain.evaluation.score import ScoreRow
from lodbrain.evaluation.statistic_records import MEAN, RegionPlace
from lodbrain.report.evaluation_figures import DrawnFigure
from lodbrain.report.pages import MINUS, render_static
from lodbrain.system.atomic import write_text

LABELS = {
    "dice": "Dice",
    "volume_similarity": "Volume similarity",
    "hd95_mm": "HD95, mm",
    "assd_mm": "ASSD, mm",
    "nsd_1vox": "NSD at 1 voxel",
    "nsd_1mm": "NSD at 1 mm",
}

#: Names of the means over a level.
MEAN_NAMES = {"structure": "mean of single structures", "merged": "mean of structures", "tissue": "mean of tissues"}


def name_of(place: RegionPlace) -> str:
    """Return a region's name in a report.

    Examples
    --------
    >>> name_of(RegionPlace("structure", "Thalamus", "left")), name_of(RegionPlace("tissue", "mean", "both"))
    ('left Thalamus', 'mean of tissues')
    """
    if place.region == MEAN:
        return MEAN_NAMES[place.level]
    named = place.region if place.side not in ("left", "right") else f"{place.side} {place.region}"
    return f"{named} (tissue)" if place.level == "tissue" and place.region == "Brain-Stem" else named


def is_shown(place: RegionPlace) -> bool:
    """Return whether a region is shown: each structure once, both sides together if it has two."""
    return place.side not in ("left", "right") and not (place.level == "structure" and place.region == MEAN)


def rows_of(rows: Sequence[ScoreRow], place: RegionPlace) -> list[ScoreRow]:
    """Return the rows of one region."""
    return [row for row in rows if (row.level, row.region, row.side) == (place.level, place.region, place.side)]


def in_order(places: Sequence[RegionPlace]) -> list[RegionPlace]:
    """Sort structures before tissues, and midline structures among the paired ones."""
    last = {"structure": 0, "merged": 0, "tissue": 1, "brain": 2}
    return sorted(places, key=lambda place: (last[place.level], place.region == MEAN))


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
