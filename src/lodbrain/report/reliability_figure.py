"""Reliability diagrams: accuracy of decisions against their posterior, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from matplotlib.figure import Figure

from lodbrain.evaluation.reliability import Reliability
from lodbrain.system.atomic import atomic

#: Bins with fewer voxels are not drawn.
_LEAST_COUNT = 20


def reliability_figure(
    panels: Mapping[str, tuple[Reliability, Reliability]], path: str | PathLike[str], *, title: str
) -> None:
    """Write a PNG with a diagram for each entry.

    Parameters
    ----------
    panels : mapping of str to (before, after)
    """
    figure = Figure(figsize=(3.4 * len(panels) + 0.6, 3.9), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    for axes, (name, pair) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for words, colour, found in zip(("before", "after"), ("#d55e00", "#0072b2"), pair, strict=True):
            enough = found.count >= _LEAST_COUNT
            label = f"{words}: error {found.error:.3f}"
            axes.plot(found.certainty[enough], found.accuracy[enough], "o-", color=colour, markersize=3, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="posterior of the label", ylabel="share that is right", aspect=1)
        axes.set_title(name, fontsize=9)
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")
