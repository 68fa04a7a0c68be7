"""Pictures of a scan and its labels in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.labels import Label
from lodbrain.report.slice_pictures import window_of
from lodbrain.system.atomic import atomic

#: Opacity of the labels over the scan.
ALPHA = 0.55

#: Margin around the labels: it shows missed parts of the brain, but not all of neck and face.
AROUND_MM = 35.0

#: Margin of air around the head.
MARGIN_MM = 5.0

#: Voxels below this share of the white level are air.
AIR = 0.1

#: Distance of the sagittal slice from the middle, to avoid the gap between the hemispheres.
BESIDE_MM = 10.0

WIDTH_INCHES, TITLE_INCHES, DPI = 12.0, 0.4, 110

#: Axial, coronal and sagittal plane: the axis that is cut, those that point right and up, and the names of both ends.
_PLANES = ((2, 0, 1, "LR"), (1, 0, 2, "LR"), (0, 1, 2, "PA"))


def three_planes(
    image: Image,
    labels: NDArray[np.integer],
    path: str | PathLike[str],
    *,
    table: Sequence[Label],
    title: str = "",
) -> None:
    """Write a PNG of an axial, a coronal and a sagittal slice: the scan above, the scan with its labels below.

    ::

        L  axial  R    L  coronal  R    P  sagittal  A       scan
        L  axial  R    L  coronal  R    P  sagittal  A       scan and labels

    The slices are through the centre of the labels. Left is left. An oblique scan is not resampled: its axes are shown
    as the nearest anatomical axes.

    Parameters
    ----------
    image : Image
        The scan, (X, Y, Z), in any orientation.
    labels : (X, Y, Z) int
        Label map on the scan's grid.
    table : sequence of Label
        Colours of the labels; other numbers have no colour.
    """
    if labels.shape != image.shape:
        raise ValueError(f"labels must be on the scan's grid {image.shape}, got {labels.shape}")
    ras, turned = to_ras(image)
    scan, regions, spacing = ras.data, turned.apply(labels), ras.spacing_mm
    black, white = window_of(scan)
    box, centre = _head_box(scan > black + AIR * (white - black), regions > 0, spacing)
    colours = _colours(table, int(regions.max()))

    sides_mm = [(part.stop - part.start) * float(side) for part, side in zip(box, spacing, strict=True)]
    widths, highest = [sides_mm[right] for _, right, _, _ in _PLANES], max(sides_mm[up] for _, _, up, _ in _PLANES)
    picture = WIDTH_INCHES * 2 * highest / sum(widths)
    height = picture + (TITLE_INCHES if title else 0)
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="black")
    if title:
        figure.text(
            0.01, 1 - 0.5 * TITLE_INCHES / height, title, color="white", fontsize=11, va="center", parse_math=False
        )
    cells = figure.add_gridspec(
        2, 3, width_ratios=widths, left=0, right=1, bottom=0, top=picture / height, wspace=0, hspace=0
    )
    for column, (axis, right, up, ends) in enumerate(_PLANES):
        cut: list[slice | int] = list(box)
        cut[axis] = centre[axis]
        # rows downwards, columns to the right
        grey, numbers = (volume[tuple(cut)][:, ::-1].T for volume in (scan, regions))
        aspect = float(spacing[up] / spacing[right])
        for row in (0, 1):
            axes = figure.add_subplot(cells[row, column])
            axes.set_axis_off()
            axes.imshow(grey, cmap="gray", vmin=black, vmax=white, aspect=aspect)
            if row == 1:
                axes.imshow(colours[numbers], aspect=aspect, interpolation="nearest")
            for x, end, side in ((0.03, ends[0], "left"), (0.97, ends[1], "right")):
                axes.text(x, 0.97, end, color="white", fontsize=10, ha=side, va="top", transform=axes.transAxes)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _head_box(
    head: NDArray[np.bool_], labelled: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> tuple[list[slice], list[int]]:
    """Return the box of the head around the labels, and the voxel through which the planes are cut."""
    box, centre = [], []
    for axis, side_mm in enumerate(spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        profile = labelled.sum(axis=others)
        # isolated bright voxels in the air are ignored
        first, last = _extent(head.mean(axis=others) > 0.002, margin=round(MARGIN_MM / side_mm))
        if profile.any():
            around = _extent(profile > 0, margin=round(AROUND_MM / side_mm))
            first, last = max(first, around[0]), min(last, around[1])
            middle = np.average(np.arange(len(profile)), weights=profile)
        else:
            middle = (first + last) / 2
        box.append(slice(first, last + 1))
        centre.append(round(float(middle)))
    beside = max(centre[0] - round(BESIDE_MM / spacing_mm[0]), 0)
    centre[0] = beside if labelled[beside].any() else centre[0]
    return box, centre


def _extent(inside: NDArray[np.bool_], *, margin: int) -> tuple[int, int]:
    """Return first and last index of the mask (of the axis if it is empty), extended by a margin."""
    places = np.flatnonzero(inside) if inside.any() else np.arange(len(inside))
    return max(int(places[0]) - margin, 0), min(int(places[-1]) + margin, len(inside) - 1)


def _colours(table: Sequence[Label], highest: int) -> NDArray[np.float64]:
    """Red, green, blue, opacity of each label number, 0..1; background and unknown numbers are transparent."""
    colours = np.zeros((max([highest, *(label.index for label in table)]) + 1, 4))
    for label in table:
        if label.index:
            colours[label.index] = [*(value / 255 for value in label.color), ALPHA]
    return colours
