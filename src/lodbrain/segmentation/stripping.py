"""Detection of skull-stripped scans, whose intracranial volume is limited by the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.background import face_value
from lodbrain.segmentation.volumes import TIV, Volume

#: Ratio of foreground volume to segmented intracranial volume below which a scan is skull-stripped. The ratio is 1.03
#: to 1.07 in 10 stripped scans of three sources, and 2.83 or more in 15 heads.
MOST_RATIO = 1.35

#: Note of the row TIV.
LIMITED = "limited by the mask of the skull-stripped input"


def shown_mm3(data: NDArray[np.floating], voxel_volume_mm3: float) -> float:
    """Return the volume of all voxels that differ from the background value, in mm^3.

    The background value is the most frequent value on the faces of the volume. In a scan with noise in air, hardly any
    voxel has this value.

    Parameters
    ----------
    data : (X, Y, Z) float
    voxel_volume_mm3 : float

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
    """Return the table of volumes with a note on TIV if the scan is skull-stripped, and a note for the result.

    Parameters
    ----------
    rows : sequence of Volume
    shown : float
        From `shown_mm3`.

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
