"""Figure of synthetic scans: one row for each, with three planes and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lodbrain.images.image import Image
from lodbrain.labels import STRUCTURES
from lodbrain.system.atomic import atomic

#: Side of one picture in pixels, and of the shown part of the head in mm.
CELL_INCHES, SHOWN_MM = 2.6, 230.0
DPI = 80

#: Percentile of a scan that is shown as white.
WHITE = 99.7

_COLOURS = np.zeros((256, 4))
for _label in STRUCTURES[1:]:
    _COLOURS[_label.index] = [*(value / 255 for value in _label.color), 0.6]


def pair_figure(pairs: Sequence[tuple[Image, NDArray[np.integer], str]], path: str | PathLike[str]) -> None:
    """Write a PNG or JPEG with one row for each pair.

    ::

        axial   coronal   sagittal   axial with labels
        axial   coronal   sagittal   axial with labels

    Parameters
    ----------
    pairs : sequence of (Image, (X, Y, Z) int, str)
        Scan in RAS order, labels in FreeSurfer's numbers on its grid, and a title. The slices are through the centre of
        the labels.

    Raises
    ------
    ValueError
        If there are no pairs.
    """
    if not pairs:
        raise ValueError("pairs must hold at least one pair, got none")
    figure = Figure(figsize=(4 * CELL_INCHES, len(pairs) * CELL_INCHES), dpi=DPI, facecolor="black")
    cells = figure.add_gridspec(len(pairs), 4, left=0, right=1, bottom=0, top=1, wspace=0, hspace=0)
    for row, (scan, regions, words) in enumerate(pairs):
        centre = _middle(regions)
        low, high = float(np.percentile(scan.data[::2, ::2, ::2], 1)), float(np.percentile(scan.data, WHITE))
        for column, axis in enumerate((2, 1, 0, 2)):
            axes = figure.add_subplot(cells[row, column], facecolor="black")
            right, up = (other for other in range(3) if other != axis)
            spacing = scan.spacing_mm
            left, bottom = -centre[right] * spacing[right], -centre[up] * spacing[up]
            extent = (left, left + scan.shape[right] * spacing[right], bottom, bottom + scan.shape[up] * spacing[up])
            picture = scan.data.take(int(centre[axis]), axis).T
            axes.imshow(picture, cmap="gray", origin="lower", extent=extent, vmin=min(low, 0), vmax=max(high, low + 1))
            if column == 3:
                slab = _COLOURS[regions.take(int(centre[axis]), axis).T]
                axes.imshow(slab, origin="lower", extent=extent, interpolation="nearest")
            axes.set(xlim=(-SHOWN_MM / 2, SHOWN_MM / 2), ylim=(-SHOWN_MM / 2, SHOWN_MM / 2), xticks=[], yticks=[])
            axes.set_frame_on(False)
            if column == 0:
                axes.text(0.02, 0.98, words, color="white", fontsize=8, va="top", transform=axes.transAxes)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="jpeg" if str(path).lower().endswith((".jpg", ".jpeg")) else "png")


def _middle(regions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the voxel in the centre of the labels; of the volume if there are none."""
    middle = []
    for axis in range(3):
        profile = (regions > 0).sum(axis=tuple(other for other in range(3) if other != axis))
        places = np.arange(len(profile))
        middle.append(np.average(places, weights=profile) if profile.any() else len(profile) / 2)
    return np.array(middle)
