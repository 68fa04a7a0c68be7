"""Limits of volumes: skull-stripped scans, and structures cut by the edge of the field of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.black_background import face_value
from lodbrain.segmentation.volume_table import TIV, Volume

#: Ratio of foreground volume to segmented intracranial volume below which a scan is skull-stripped. The ratio is 1.03
#: to 1.07 in 10 stripped scans of three sources, and 2.83 or more in 15 heads.
MOST_RATIO = 1.35

#: Note of the row TIV.
LIMITED = "limited by the mask of the skull-stripped input"

#: A structure counts as cut if its area on the edge exceeds this share of its volume to the power of 2/3. A ball cut
#: through the middle has 1.9; a structure that touches the edge only with its outermost voxels has less than 0.05.
LEAST_SHARE = 0.05


def shown_mm3(data: NDArray[np.floating], voxel_volume_mm3: float) -> float:
    """Return the volume of all voxels of a scan (X, Y, Z) that differ from the background value, in mm^3.

    The background value is the most frequent value on the faces of the volume. In a scan with noise in air, hardly any
    voxel has this value.

    Examples
    --------
    >>> scan = np.full((5, 5, 5), -1.0)
    >>> scan[1:3, 1:3, 1:3] = 7.0
    >>> shown_mm3(scan, 2.0)
    16.0
    """
    background, _ = face_value(data)
    # Slice by slice, since a mask of the whole scan would take one byte per voxel; in the order of memory.
    slices = np.moveaxis(data, int(np.argmax(np.abs(data.strides))), 0)
    return sum(int(np.count_nonzero(part != background)) for part in slices) * voxel_volume_mm3


def with_caveat(rows: Sequence[Volume], shown: float) -> tuple[tuple[Volume, ...], str]:
    """Return the volumes, with a note on TIV if `shown_mm3` tells a skull-stripped scan, and a note for the result.

    Returns
    -------
    tuple of Volume
    str
        Empty if the scan is not stripped, or TIV is not in the table.
    """
    tiv = next((row.volume_mm3 for row in rows if row.name == TIV), 0.0)
    if shown >= MOST_RATIO * tiv:
        return tuple(rows), ""
    sentence = "The scan is skull-stripped: its TIV is limited by the mask, not the volume inside of the skull."
    return tuple(replace(row, note=LIMITED) if row.name == TIV else row for row in rows), sentence


def cut_structures(
    labels: NDArray[np.uint8], volumes: Sequence[Volume], spacing_mm: NDArray[np.float64]
) -> tuple[str, ...]:
    """Return the names of labels that reach the edge of the field of view with more than their outermost voxels.

    Parameters
    ----------
    labels : (X, Y, Z) uint8
    spacing_mm : (3,) float64
        Voxel sides.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((10, 10, 10), np.uint8)
    >>> labels[:, 4:8, 4:8] = 7
    >>> cut_structures(labels, [Volume(7, "rod", 160.0, 160.0)], np.ones(3))
    ('rod',)
    """
    area_mm2 = np.zeros(256)
    for axis in range(3):
        for face in (0, -1):
            plane = labels[(slice(None),) * axis + (face,)]
            counts = np.bincount(plane.ravel(), minlength=256)
            area_mm2 += counts * np.prod(np.delete(spacing_mm, axis))
    return tuple(
        row.name for row in volumes if row.index and area_mm2[row.index] > LEAST_SHARE * row.volume_mm3 ** (2 / 3) > 0
    )
