"""HTML page of a verification: table, protocol, and the worst slice of each scan."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lodbrain.evaluation.protocol import CLEAR
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import read_image
from lodbrain.report.pages import render_static
from lodbrain.system.atomic import write_text

#: Only slices with at least this share of the largest labelled area are compared: Dice is always low at the ends.
LEAST_AREA = 0.3
_GREY, _WHITE = (3, 42), (2, 41)
#: Colours of false negatives and false positives, as in the page's legend.
_COLOURS = {
    "grey missed": "#b8860b",
    "grey invented": "#c2185b",
    "white missed": "#1565c0",
    "white invented": "#00897b",
}


@dataclass(frozen=True)
class WorstSlice:
    """Axial slice of a scan that agrees least, as a PNG in base64; `whole` is the Dice of the scan by region."""

    subject: str
    slice: int
    dice: float
    whole: dict[str, float]
    notes: tuple[str, ...]
    png: str


def verification_page(path: Path, shots: Iterable[WorstSlice], **values: Any) -> None:
    """Write the page as a single self-contained file without connections.

    Parameters
    ----------
    shots : iterable of WorstSlice
        The worst one is first on the page.
    **values
        Content of the tables: summary, protocol, published, model and source; every text is escaped.
    """
    shots = sorted(shots, key=lambda shot: shot.dice)
    write_text(path, render_static("verification.html", shots=shots, clear=CLEAR, **values))


def slice_dice(pred: NDArray[np.integer], ref: NDArray[np.integer]) -> NDArray[np.float64]:
    """(Z,) Dice over all labels of each axial slice; NaN where too little is labelled.

    Parameters
    ----------
    pred, ref : (X, Y, Z) int
        In RAS order.
    """
    both = ((pred == ref) & (ref > 0)).sum((0, 1))
    sizes = (pred > 0).sum((0, 1)) + (ref > 0).sum((0, 1))
    area = (ref > 0).sum((0, 1))
    counts = (area >= LEAST_AREA * max(1, area.max())) & (sizes > 0)
    dice: NDArray[np.float64] = np.where(counts, 2 * both / np.maximum(1, sizes), np.nan)
    return dice


def worst_slice(
    subject: str,
    scan: Path,
    pred: NDArray[np.integer],
    manual: Image,
    *,
    dice: dict[str, float],
    notes: tuple[str, ...] = (),
) -> WorstSlice:
    """Draw the worst slice of a scan.

    Parameters
    ----------
    pred : (X, Y, Z) int
        Our labels, in the manual labels' numbers, on their grid.
    dice : dict of str to float
        Dice of the whole scan, by region.
    """
    ref = to_ras(manual)[0]
    ours = to_ras(replace(manual, data=pred))[0].data
    by_slice = slice_dice(ours, ref.data)
    at = int(np.nanargmin(by_slice)) if np.isfinite(by_slice).any() else ref.shape[2] // 2
    drawn = _draw(to_ras(read_image(scan))[0], ours, ref.data, at)
    return WorstSlice(subject, at, float(np.nan_to_num(by_slice[at])), dice, notes, drawn)


def _draw(scan: Image, pred: NDArray[np.integer], ref: NDArray[np.integer], at: int) -> str:
    """Return a PNG in base64: scan, manual labels, our labels, and differences."""
    labelled = np.argwhere((pred[..., at] > 0) | (ref[..., at] > 0))
    low, high = (labelled.min(0), labelled.max(0)) if len(labelled) else (np.zeros(2, int), np.array(ref.shape[:2]) - 1)
    margin = np.ceil(8 / scan.spacing_mm[:2]).astype(int)
    cut = tuple(
        slice(max(0, a - m), min(n, b + m + 1))
        for a, b, m, n in zip(low.tolist(), high.tolist(), margin.tolist(), ref.shape[:2], strict=True)
    )

    def plane(volume: NDArray[Any]) -> NDArray[Any]:
        return volume[..., at][cut][:, ::-1].T

    grey = plane(scan.data)
    top = float(np.percentile(grey, 99.5)) or 1.0
    aspect = float(scan.spacing_mm[1] / scan.spacing_mm[0])
    figure = Figure(figsize=(12, 12 / 4 * grey.shape[0] * aspect / grey.shape[1] + 0.3), dpi=100, facecolor="black")
    shown = (None, _colours(plane(ref)), _colours(plane(pred)), _differences(plane(pred), plane(ref)))
    for column, (title, overlay) in enumerate(zip(("scan", "manual", "ours", "differences"), shown, strict=True)):
        axes = figure.add_axes((column / 4, 0, 1 / 4, 0.92))
        axes.set_axis_off()
        axes.imshow(grey, cmap="gray", vmin=0, vmax=top, aspect=aspect)
        if overlay is not None:
            axes.imshow(overlay, aspect=aspect, interpolation="nearest")
        axes.set_title(title, color="white", fontsize=10)
        axes.text(0.02, 0.97, "L", color="white", fontsize=9, va="top", transform=axes.transAxes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _colours(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Red, green, blue, opacity of grey (red) and white matter (light)."""
    out = np.zeros((*labels.shape, 4))
    out[np.isin(labels, _GREY)] = (0.8, 0.24, 0.31, 0.6)
    out[np.isin(labels, _WHITE)] = (0.96, 0.96, 0.96, 0.6)
    return out


def _differences(pred: NDArray[Any], ref: NDArray[Any]) -> NDArray[np.float64]:
    out = np.zeros((*ref.shape, 4))
    for name, numbers in (("white", _WHITE), ("grey", _GREY)):
        ours, theirs = np.isin(pred, numbers), np.isin(ref, numbers)
        for kind, where in (("missed", theirs & ~ours), ("invented", ours & ~theirs)):
            colour = _COLOURS[f"{name} {kind}"]
            out[where] = (*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)), 0.85)
    return out
