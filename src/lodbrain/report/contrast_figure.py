"""Figure of fitted and observed histograms from the contrast analysis."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lodbrain.contrast_analysis.analysis import WHITE_LEVEL, ScanFit
from lodbrain.contrast_analysis.goodness import relative_mismatch
from lodbrain.contrast_analysis.mixture import DEEP, FLUID, GREY, WHITE
from lodbrain.system.atomic import atomic

#: Largest number of panels; of more scans, only the first and the last are drawn.
MOST_SCANS = 12
COLUMNS = 3
PANEL_INCHES, DPI = (4.2, 3.0), 110

_COLOURS = {WHITE: "#b8a000", GREY: "#cd3e4e", DEEP: "#1f7a8c", FLUID: "#781286"}


def contrast_figure(fits: Sequence[ScanFit], names: Sequence[str], path: str | PathLike[str]) -> None:
    """Write a PNG with a panel for each scan, titled with its name: bias-corrected histogram and fit."""
    if not fits or len(fits) != len(names):
        raise ValueError(f"fits and names must be as many, and some, got {len(fits)} and {len(names)}")
    shown = list(zip(fits, names, strict=True))[:MOST_SCANS]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 0.3), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (fit, name) in zip(panels, shown, strict=False):
        _panel(axes, fit, name)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=len(texts), fontsize=8, frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axes: Axes, fit: ScanFit, name: str) -> None:
    histogram = fit.histogram
    centres = histogram.centres
    axes.fill_between(centres, histogram.observed, step="mid", color="0.82", label="observed")
    for group, density in histogram.groups.items():
        axes.plot(centres, density, color=_COLOURS[group], linewidth=1.2, label=group)
    axes.plot(centres, histogram.mixed, color="0.45", linewidth=1, linestyle="--", label="partial volume")
    axes.plot(centres, histogram.fitted, color="black", linewidth=1.2, label="fitted")
    axes.set_title(name, fontsize=8, parse_math=False)
    axes.set_xlabel(f"intensity (white matter = {WHITE_LEVEL:.0f})", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.text(
        0.02,
        0.97,
        f"bias {fit.bias.log_sd:.1%}, {fit.bias.scale_mm:.0f} mm\n"
        f"noise {fit.noise.sd:.1%}, {fit.noise.fwhm_mm:.1f} mm\n"
        f"mismatch {relative_mismatch(fit.mixture, histogram):.2f}",
        transform=axes.transAxes,
        ha="left",
        va="top",
        fontsize=7,
    )
