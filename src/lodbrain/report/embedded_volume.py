"""Scan and labels as NIfTI inside a page: cropped to the head, reduced in grey levels and resolution."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.images.image import Image
from lodbrain.images.io import nifti_bytes
from lodbrain.labels import Label

#: Margin around the labels.
MARGIN_MM = 15.0

#: Larger volumes are reduced for the viewer, which keeps the page below 10 MB. A brain at 0.8 mm fits.
MOST_VOXELS = 12_000_000

#: Grey levels of the scan that are distinguishable. Against 256 they save a third (1 mm head: 3.6, not 5.5 MB).
GREY_LEVELS = 64

_STEP = 256 // GREY_LEVELS

#: Approximate number of voxels among which an interior point of a structure is searched.
_ENOUGH_VOXELS = 300_000


@dataclass(frozen=True)
class Embedded:
    """Data of the viewer: ``.nii.gz`` files of uint8 in base64, and an interior point (RAS, mm) of each label present.

    `reduced` says whether the voxel sides as embedded are larger than the scan's.
    """

    scan: str
    labels: str
    spacing_mm: tuple[float, float, float]
    reduced: bool
    targets: dict[int, tuple[float, float, float]]


def embed(
    scan: Image,
    regions: NDArray[np.integer],
    table: Sequence[Label],
    window: tuple[float, float],
    *,
    most_voxels: int = MOST_VOXELS,
) -> Embedded:
    """Return scan and labels for the viewer.

    Parameters
    ----------
    scan : Image
        In RAS order.
    regions : (X, Y, Z) int
        Labels below 256 on the same grid; of those in `table`, interior points are computed.
    window : (2,) float
        Intensities shown as black and white.
    """
    box = _around(regions, scan.spacing_mm)
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    labels = regions[box].astype(np.uint8)
    places = _targets(labels, table, affine)
    grey = np.clip((scan.data[box] - window[0]) / (window[1] - window[0]), 0, 1).astype(np.float32)
    factor = max(1.0, (grey.size / most_voxels) ** (1 / 3))
    if reduced := factor > 1:
        grey, labels, affine = _reduce(grey, labels, affine, scan.spacing_mm, factor)
    levels = np.rint(grey * (GREY_LEVELS - 1)).astype(np.uint8) * _STEP
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).round(3).tolist()
    return Embedded(_packed(levels, affine), _packed(labels, affine), (x, y, z), bool(reduced), places)


def _around(regions: NDArray[np.integer], spacing_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    places = [np.flatnonzero(regions.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    inside = [
        slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, n)
        for found, n in zip(places, regions.shape, strict=True)
    ]
    margins = [int(np.ceil(MARGIN_MM / float(side))) for side in spacing_mm]
    return tuple(
        slice(max(0, part.start - margin), min(n, part.stop + margin))
        for part, margin, n in zip(inside, margins, regions.shape, strict=True)
    )


def _targets(
    labels: NDArray[np.uint8], table: Sequence[Label], affine: NDArray[np.float64]
) -> dict[int, tuple[float, float, float]]:
    """Return an interior point of each label: after erosion, the voxel nearest to the centre."""
    places = {}
    boxes = ndimage.find_objects(labels)
    for label in table:
        if not 0 < label.index <= len(boxes) or (box := boxes[label.index - 1]) is None:
            continue
        # a subset of a large structure's voxels suffices: one in each cube of `step`
        step = max(1, round((np.prod([part.stop - part.start for part in box]) / _ENOUGH_VOXELS) ** (1 / 3)))
        thin: tuple[slice, ...] = tuple(slice(part.start, part.stop, step) for part in box)
        inside = np.pad(labels[thin] == label.index, 1)
        if not inside.any():
            thin, step = box, 1
            inside = np.pad(labels[box] == label.index, 1)
        for _ in range(3):
            peeled = ndimage.binary_erosion(inside)
            if not peeled.any():
                break
            inside = peeled
        voxels = np.argwhere(inside)
        nearest = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
        voxel = (nearest - 1) * step + [part.start for part in box]
        x, y, z = (affine[:3, :3] @ voxel + affine[:3, 3]).round(2).tolist()
        places[label.index] = (x, y, z)
    return places


def _reduce(
    grey: NDArray[np.float32],
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    factor: float,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64]]:
    """Resample both to a coarser grid of nearly cubic voxels: averages of the scan, nearest labels."""
    side_mm = float(np.prod(spacing_mm)) ** (1 / 3) * factor
    shape = [max(1, round(n * float(mm) / side_mm)) for n, mm in zip(grey.shape, spacing_mm, strict=True)]
    steps = np.array(grey.shape) / shape
    for axis, count in enumerate(shape):
        shares = _shares(grey.shape[axis], count)
        grey = np.moveaxis(np.tensordot(shares, grey, axes=(1, axis)), 0, axis)
    # the fine voxel that contains the centre of a coarse voxel, (i + 0.5) * step
    nearest = [((np.arange(count) + 0.5) * step).astype(int) for count, step in zip(shape, steps, strict=True)]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ (0.5 * steps - 0.5)
    moved[:3, :3] = affine[:3, :3] * steps
    return grey, labels[np.ix_(*nearest)], moved


def _shares(fine: int, coarse: int) -> NDArray[np.float32]:
    """(coarse, fine): share of each coarse voxel that a fine one fills; the rows sum to 1."""
    edges = np.arange(coarse + 1) * (fine / coarse)
    low, high = edges[:-1, None], edges[1:, None]
    voxel = np.arange(fine)[None]
    overlap = np.clip(np.minimum(high, voxel + 1) - np.maximum(low, voxel), 0, None)
    shares: NDArray[np.float32] = (overlap * (coarse / fine)).astype(np.float32)
    return shares


def _packed(data: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    raw = nifti_bytes(data, Image(data, affine))
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode("ascii")
