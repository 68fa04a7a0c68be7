"""Pictures of a scan and its labels in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    path : path
        The PNG to write.
    table : sequence of Label
        Colours of the labels; other numbers have no colour.
    title : str
        Title above the picture.
    """
    if labels.shape != image.shape:
        raise ValueError(f"labels must be on the scan's grid {image.shape}, got {labels.shape}")
    scan = to_ras(image)[0]
    regions = to_ras(replace(image, data=labels))[0].data
    black, white = window_of(scan.data)
    planes = _planes(scan, regions, air=black + AIR * (white - black))
    colours = _colours(table, int(regions.max()))

    widths, heights = np.transpose([plane.size_mm for plane in planes])
    picture = WIDTH_INCHES * 2 * heights.max() / widths.sum()
    height = picture + (TITLE_INCHES if title else 0)
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="black")
    if title:
        figure.text(
            0.01, 1 - 0.5 * TITLE_INCHES / height, title, color="white", fontsize=11, va="center", parse_math=False
        )
    cells = figure.add_gridspec(
        2, 3, width_ratios=widths, left=0, right=1, bottom=0, top=picture / height, wspace=0, hspace=0
    )
    for column, plane in enumerate(planes):
        for row in (0, 1):
            axes = figure.add_subplot(cells[row, column])
            axes.set_axis_off()
            axes.imshow(plane.of(scan.data), cmap="gray", vmin=black, vmax=white, aspect=plane.aspect)
            if row == 1:
                axes.imshow(colours[plane.of(regions)], aspect=plane.aspect, interpolation="nearest")
            for x, end in zip((0.03, 0.97), plane.ends, strict=True):
                side = "left" if x < 0.5 else "right"
                axes.text(x, 0.97, end, color="white", fontsize=10, ha=side, va="top", transform=axes.transAxes)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


@dataclass(frozen=True)
class _Plane:
    """The slice at `position` of `axis` within a box of a volume in RAS order; its own axes point right and up."""

    axis: int
    position: int
    box: tuple[slice, ...]
    spacing_mm: NDArray[np.float64]

    @property
    def across(self) -> tuple[int, int]:
        """The volume's axes that point to the right and up."""
        right, up = (axis for axis in range(3) if axis != self.axis)
        return right, up

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height, mm."""
        width, height = (
            (self.box[axis].stop - self.box[axis].start) * float(self.spacing_mm[axis]) for axis in self.across
        )
        return width, height

    @property
    def aspect(self) -> float:
        """Height of a voxel over its width."""
        right, up = self.across
        return float(self.spacing_mm[up] / self.spacing_mm[right])

    @property
    def ends(self) -> tuple[str, str]:
        """Labels of the left and right edge."""
        return ("P", "A") if self.axis == 0 else ("L", "R")

    def of(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the slice (rows downwards, columns to the right) of a volume (X, Y, Z)."""
        cut: list[slice | int] = list(self.box)
        cut[self.axis] = self.position
        return volume[tuple(cut)][:, ::-1].T


def _planes(scan: Image, regions: NDArray[np.integer], *, air: float) -> list[_Plane]:
    """Return the axial, coronal and sagittal plane through the centre of the regions, cropped to the head."""
    head, labelled = scan.data > air, regions > 0
    box, centre = [], []
    for axis, side_mm in enumerate(scan.spacing_mm):
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
    beside = max(centre[0] - round(BESIDE_MM / scan.spacing_mm[0]), 0)
    centre[0] = beside if labelled[beside].any() else centre[0]
    return [_Plane(axis, centre[axis], tuple(box), scan.spacing_mm) for axis in (2, 1, 0)]


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
