"""Curves of Dice against the strength of each degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lodbrain.system.atomic import atomic

COLUMNS = 4
PANEL_INCHES, DPI = (3.1, 2.5), 110
#: Okabe and Ito's colours, for colour-blind readers; lines also differ in their markers.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Panel:
    """Panel of one degradation: a line of Dice against strength for each name."""

    title: str
    unit: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def stress_figure(
    panels: Sequence[Panel], paths: Sequence[str | PathLike[str]], *, threshold: float, title: str
) -> None:
    """Write curves, a panel for each degradation, as ``.png`` and ``.svg``; below the threshold a method has failed."""
    if not panels:
        raise ValueError("panels must be some, got none")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 0.7)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for place, (panel, one) in enumerate(zip(panels, axes, strict=False)):
        _draw(one, panel, threshold, first=place % columns == 0)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 7), fontsize=8, frameon=False)
    for path in paths:
        kind = Path(path).suffix.removeprefix(".")
        with atomic(path) as temporary:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _draw(axes: Axes, panel: Panel, threshold: float, *, first: bool) -> None:
    for place, (name, (strengths, dice)) in enumerate(panel.curves.items()):
        colour, mark = _COLOURS[place % len(_COLOURS)], _MARKS[place % len(_MARKS)]
        axes.plot(strengths, dice, label=name, linewidth=1.4, markersize=4, color=colour, marker=mark)
    axes.axhline(threshold, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_title(panel.title, fontsize=9, parse_math=False)
    axes.set_xlabel(panel.unit, fontsize=8)
    if first:
        axes.set_ylabel("Dice", fontsize=8)
    axes.set_ylim(0, 1)
    axes.tick_params(labelsize=7)
    axes.grid(color="0.92")
