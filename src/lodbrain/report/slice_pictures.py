"""Slices of a scan with label outlines, as small pictures inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lodbrain.images.image import Image
from lodbrain.labels import Label

#: Number of slices per plane.
COUNT = 8

#: Share of the brain left out at both ends, where slices show little of it.
ENDS = 0.1

#: Pixels per millimetre: sharp on a high-density screen at the shown size.
PIXELS_PER_MM = 2.0

#: Margin around the labels, to show missed parts of the brain.
AROUND_MM = 12.0

JPEG_QUALITY = 80

#: Magenta, which no label has, half transparent: where members of a consensus disagree.
MARK_COLOUR, MARK_OPACITY = (255, 0, 200), 140

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Slice:
    """One picture.

    Attributes
    ----------
    mm : (3,) float
        World coordinates (RAS) of its centre.
    size : (2,) int
        Width and height in pixels.
    scan, outlines, marks : str
        ``data:`` URIs: the scan as JPEG, the others as PNG on nothing; `marks` is empty where nothing can be marked.
    """

    plane: str
    mm: tuple[float, float, float]
    size: tuple[int, int]
    scan: str
    outlines: str
    marks: str = ""


def slices(
    scan: Image,
    regions: NDArray[np.integer],
    table: Sequence[Label],
    window: tuple[float, float],
    *,
    marked: NDArray[np.bool_] | None = None,
) -> list[Slice]:
    """Return axial, coronal and sagittal slices through the labels; left is left.

    Parameters
    ----------
    scan : Image
        In RAS order.
    regions : (X, Y, Z) int
        Labels on the same grid, in the colours of `table`.
    window : (2,) float
        Intensities that are black and white.
    marked : (X, Y, Z) bool, optional
        To be shown in `MARK_COLOUR`, on the same grid.
    """
    spacing = scan.spacing_mm
    palette = _palette(table)
    inside = [np.flatnonzero(regions.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not all(len(places) for places in inside):
        inside = [np.arange(n) for n in scan.shape]
    box = []
    for places, n, side_mm in zip(inside, scan.shape, spacing, strict=True):
        around = round(AROUND_MM / float(side_mm))
        box.append(slice(max(0, int(places[0]) - around), min(n, int(places[-1]) + 1 + around)))
    centre = [(part.start + part.stop - 1) / 2 for part in box]
    return [
        made
        for plane, axis in zip(PLANES, (2, 1, 0), strict=True)
        for made in _of_plane(scan, regions, plane, axis, box, centre, inside[axis], palette, window, marked)
    ]


def window_of(data: NDArray[np.floating]) -> tuple[float, float]:
    """Return the intensities shown as black and white: 1% of all voxels, and 99.5% of the brighter ones."""
    sample = data[::2, ::2, ::2]
    black = float(np.percentile(sample, 1))
    above = sample[sample > black]
    white = float(np.percentile(above, 99.5)) if above.size else black + 1
    return black, max(white, black + 1e-6)


def _of_plane(
    scan: Image,
    regions: NDArray[np.integer],
    plane: str,
    axis: int,
    box: list[slice],
    centre: list[float],
    places: NDArray[np.intp],
    palette: NDArray[np.uint8],
    window: tuple[float, float],
    marked: NDArray[np.bool_] | None,
) -> Iterator[Slice]:
    first, last = int(places[0]), int(places[-1])
    margin = ENDS * (last - first)
    across = [other for other in range(3) if other != axis]
    width, height = (
        max(1, round((box[other].stop - box[other].start) * float(scan.spacing_mm[other]) * PIXELS_PER_MM))
        for other in across
    )
    for position in np.linspace(first + margin, last - margin, COUNT).round().astype(int):
        cut: list[slice | int] = list(box)
        cut[axis] = int(position)
        # rows downwards, columns to the right
        grey = (scan.data[tuple(cut)].T[::-1] - window[0]) / (window[1] - window[0])
        levels = (np.clip(grey, 0, 1) * 255).astype(np.uint8)
        picture = Picture.fromarray(levels).resize((width, height), Picture.Resampling.BICUBIC)
        # nearest neighbour at almost full size, so that the outlines follow the voxels
        labels = Picture.fromarray(regions[tuple(cut)].T[::-1].astype(np.uint8))
        edges = outline(np.asarray(labels.resize((width, height), Picture.Resampling.NEAREST)))
        lines = Picture.fromarray(edges)
        lines.putpalette(palette.tobytes())
        voxel = np.array(centre)
        voxel[axis] = position
        x, y, z = (scan.affine[:3, :3] @ voxel + scan.affine[:3, 3]).round(1).tolist()
        yield Slice(
            plane,
            (x, y, z),
            (width, height),
            data_uri(picture, "JPEG", quality=JPEG_QUALITY),
            data_uri(lines, "PNG", transparency=0, bits=8),
            "" if marked is None else _marks(marked[tuple(cut)].T[::-1], (width, height)),
        )


def _marks(marked: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """A picture of what is marked in a slice, (H, W) bool, in `size` pixels."""
    picture = Picture.fromarray(marked.astype(np.uint8)).resize(size, Picture.Resampling.NEAREST)
    picture.putpalette([0, 0, 0, *MARK_COLOUR])
    return data_uri(picture, "PNG", transparency=bytes([0, MARK_OPACITY]), bits=1)


def outline(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the outermost pixels of each label, with their label; 0 elsewhere.

    Parameters
    ----------
    labels : (H, W) uint8

    Examples
    --------
    >>> outline(np.pad(np.full((3, 3), 7, np.uint8), 1))[1:4, 1:4].tolist()
    [[7, 7, 7], [7, 0, 7], [7, 7, 7]]
    """
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    edge = np.zeros(labels.shape, dtype=bool)
    for beside in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= beside != centre
    return np.where(edge, labels, 0).astype(np.uint8)


def data_uri(picture: Picture.Image, kind: str, **options: int | bytes) -> str:
    """A picture as a ``data:`` URI."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _palette(table: Sequence[Label]) -> NDArray[np.uint8]:
    """(256, 3) uint8: colour of each label."""
    palette = np.zeros((256, 3), np.uint8)
    for label in table:
        if 0 < label.index < 256:
            palette[label.index] = label.color
    return palette
