"""Figures of validation: quality score against true Dice with the ROC of failures; reliability of posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lodbrain.evaluation.quality_fit import FAILED_DICE, Agreement
from lodbrain.evaluation.reliability import Reliability
from lodbrain.system.atomic import atomic

#: Bins with fewer voxels are not drawn.
_LEAST_COUNT = 20


def quality_figure(
    score: NDArray[np.float64], dice: NDArray[np.float64], found: Agreement, path: Path, *, title: str
) -> None:
    """Write a PNG: scores against Dice on the left, ROC on the right.

    Parameters
    ----------
    score, dice : (n,) float
    found : Agreement
        Agreement of the same values.
    """
    figure = Figure(figsize=(8.4, 4.0), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    left.scatter(score, dice, s=14, color="#0072b2", alpha=0.75, linewidths=0)
    left.axhline(FAILED_DICE, color="0.6", linewidth=0.8, linestyle="--")
    low = max(0.0, float(min(score.min(), dice.min())) - 0.05)
    left.set(xlim=(low, 1), ylim=(low, 1), xlabel="score (predicted Dice)", ylabel="true Dice, mean of six tissues")
    left.set_title(f"Pearson {found.pearson:.2f}, Spearman {found.spearman:.2f}, n {found.n}", fontsize=9)
    right.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    if not np.isnan(found.auc):
        right.plot(found.false_alarms, found.found, color="#d55e00", linewidth=1.6, drawstyle="steps-post")
        right.set_title(f"Dice below {FAILED_DICE}: AUC {found.auc:.2f}, {found.failed} of {found.n} cases", fontsize=9)
    else:
        right.set_title(f"Dice below {FAILED_DICE}: {found.failed} of {found.n} cases, no ROC", fontsize=9)
    right.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="share of good results that are flagged", ylabel="share of failed found"
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def reliability_figure(panels: Mapping[str, tuple[Reliability, Reliability]], path: Path, *, title: str) -> None:
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
