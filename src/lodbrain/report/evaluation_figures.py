"""Figures of an evaluation: SVG and PNG for print, SVG for the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lodbrain.system.atomic import atomic

#: Colours for readers with impaired colour vision (Okabe and Ito), each with its own marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")

#: Width of two columns of a journal, in inches.
WIDTH = 7.2

#: Elements of this colour take the page's text colour when the figure is inlined.
_INK = "#1a1b1c"

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 8,
    "figure.facecolor": "#ffffff",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.facecolor": "none",
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "lodbrain",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class DrawnFigure:
    """A finished figure; `name` is that of its files, `inline` an ``<svg>`` element in the page's text colour."""

    name: str
    caption: str
    inline: str


@dataclass(frozen=True)
class Dot:
    """A value with its interval (NaN if there is none) and single values; drawn hollow unless `filled`."""

    row: str
    series: str
    value: float
    low: float
    high: float
    single: tuple[float, ...] = ()
    filled: bool = True


def dot_panels(
    name: str,
    caption: str,
    panels: Mapping[str, Sequence[Dot]],
    folder: Path,
    *,
    rows: Sequence[str],
    series: Sequence[str],
    zero: bool = False,
    rules: Sequence[str] = (),
    hidden: Sequence[str] = (),
) -> DrawnFigure:
    """Draw dots with intervals, one panel for each metric, one row for each region or group.

    Parameters
    ----------
    panels : mapping of str to sequence of Dot
        Label of the horizontal axis -> its dots.
    rows, series : sequence of str
        Rows from top to bottom; series are side by side in a row.
    zero : bool
        Draw a line at 0, for values that are differences.
    rules : sequence of str
        Rows above which a separating line is drawn.
    hidden : sequence of str
        Series that are not drawn; the others keep their colours of figures with all series.
    """
    with _canvas(WIDTH, 0.9 + max(len(rows), 2) * (0.12 + 0.085 * (len(series) - len(hidden)))) as figure:
        drawn = [each for each in series if each not in hidden]
        step = 0.72 / len(drawn)
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, dots) in zip(all_axes, panels.items(), strict=True):
            for dot in dots:
                index = series.index(dot.series)
                y = rows.index(dot.row) + (drawn.index(dot.series) - (len(drawn) - 1) / 2) * step
                colour = COLOURS[index % len(COLOURS)]
                axes.plot(dot.single, [y] * len(dot.single), ".", color=colour, alpha=0.35, ms=3, mew=0, zorder=2)
                axes.plot([dot.low, dot.high], [y, y], color=colour, lw=1.3, zorder=3)
                face = colour if dot.filled else "#ffffff"
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(dot.value, y, marker, color=colour, mfc=face, ms=4.2, mew=0.9, zorder=4)
            axes.set_xlabel(label)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            for rule in rules:
                axes.axhline(rows.index(rule) - 0.5, color=_INK, lw=0.5, alpha=0.5)
            if zero:
                axes.axvline(0, color=_INK, lw=0.8)
        all_axes[0].set_yticks(range(len(rows)), rows)
        for axes in all_axes:
            axes.tick_params(axis="y", length=0)
        _legend(figure, series, hidden)
        return _finish(figure, name, caption, folder)


def scatter_panels(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], tuple[float, float, float]]]],
    folder: Path,
    *,
    series: Sequence[str],
    x: str,
    y: str,
) -> DrawnFigure:
    """Draw Bland-Altman panels: differences against means, with bias and limits of agreement.

    `panels[region][series]` is (horizontal values, vertical values, (bias, lower limit, upper limit)).
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with _canvas(WIDTH, 0.5 + 1.9 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for position, axes in enumerate(grid.flat):
            if position >= len(panels):
                axes.set_axis_off()
                continue
            region = list(panels)[position]
            axes.set_title(region)
            axes.axhline(0, color=_INK, lw=0.6, alpha=0.6)
            for each, (across, up, (bias, low, high)) in panels[region].items():
                index = series.index(each)
                colour = COLOURS[index % len(COLOURS)]
                axes.plot(across, up, MARKERS[index % len(MARKERS)], color=colour, ms=3.2, mew=0, alpha=0.8)
                axes.axhline(bias, color=colour, lw=1.2)
                for limit in (low, high):
                    axes.axhline(limit, color=colour, lw=0.9, ls=(0, (4, 2)))
            axes.margins(x=0.08, y=0.12)
            if position % columns == 0:
                axes.set_ylabel(y)
            if position >= len(panels) - columns:
                axes.set_xlabel(x)
        _legend(figure, series)
        return _finish(figure, name, caption, folder)


@contextmanager
def _canvas(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure


def _legend(figure: Figure, series: Sequence[str], hidden: Sequence[str] = ()) -> None:
    if len(series) < 2:
        return
    axes: Axes = figure.axes[0]
    handles = [
        axes.plot([], [], MARKERS[n % len(MARKERS)], color=COLOURS[n % len(COLOURS)], ms=4.5, label=each)[0]
        for n, each in enumerate(series)
        if each not in hidden
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(series), 4), handletextpad=0.3)


def _finish(figure: Figure, name: str, caption: str, folder: Path) -> DrawnFigure:
    """Write SVG and PNG, and return the figure; the SVG has no date, so that equal figures have equal bytes."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    writers: dict[str, Callable[[Path], object]] = {
        "svg": lambda path: path.write_text(svg, encoding="utf-8"),
        "png": lambda path: figure.savefig(path, format="png", dpi=300),
    }
    for ending, write in writers.items():
        with atomic(folder / f"{name}.{ending}") as temporary:
            write(temporary)
    return DrawnFigure(name, caption, _inline(svg, name))


def _inline(svg: str, name: str) -> str:
    """Return the ``<svg>`` element: text and lines in the page's text colour, no background, unique identifiers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = body.replace(_INK, "currentColor").replace("fill: #ffffff", "fill: var(--paper, none)")
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", body)
    body = re.sub(r'(id="|url\(#|href="#)', rf"\1{name}-", body)
    start, end = body.split(">", 1)
    # the page sets the size; the viewBox sets the proportions
    return re.sub(r' (width|height)="[^"]*"', "", start) + ' role="img">' + end
