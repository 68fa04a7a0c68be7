"""Correction of constant backgrounds (from masks, resampling or padding) whose value is not black.

The networks are trained on images with a background of 0 that is also their minimum. In a z-scored brain 0 lies in the
middle of the range; converters write air as -1000 or pad with white. Such background values are replaced.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A background is one value in this share of the voxels on the volume's faces, or more.
FACE_SHARE = 0.2
#: The darkest and the brightest of the other voxels, without outliers: percentiles.
DARK, BRIGHT = 0.1, 95.0
#: How far below and above the darkest of the other voxels a background is left, as shares of their range: where nine
#: in ten of the stripped scans have it that the generator draws, which is what the networks know. In 28 real scans
#: masked with 0 it lies 0.001 to 0.037 below. A tight mask and a background slightly too dark look the same.
BELOW, ABOVE = 0.4, 0.1
#: Voxels that the percentiles are taken of.
SAMPLE = 1 << 20


def blacken_background(data: NDArray[np.float32]) -> tuple[NDArray[np.float32], str]:
    """Return the scan with a black background, and a note if it was changed.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Finite.

    Returns
    -------
    data : (X, Y, Z) float32
        A copy if changed. The function is idempotent.
    note : str
        One sentence; empty if unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> scan = np.full((8, 8, 8), -1000, np.float32)
    >>> scan[2:6, 2:6, 2:6] = np.arange(64).reshape(4, 4, 4)
    >>> black, note = blacken_background(scan)
    >>> round(float(black[0, 0, 0]), 2), note
    (0.06, 'The background (-1000) lies outside of the intensities of the head: it was set to their darkest, 0.063.')
    """
    background, share = face_value(data)
    if share < FACE_SHARE:
        return data, ""
    step = max(1, int((data.size / SAMPLE) ** (1 / 3)))
    rest = data[::step, ::step, ::step]
    rest = rest[rest != background]
    if rest.size == 0:
        return data, ""
    dark, bright = np.percentile(rest, [DARK, BRIGHT]).astype(np.float32)
    unit = bright - dark
    if unit == 0:  # a mask: two values
        return data, ""
    if dark - BELOW * unit <= background <= dark + ABOVE * unit:
        return data, ""
    empty = data == background
    where = "outside of"
    if rest.min() < background < rest.max():
        where = "within"
        empty = from_outside(empty)  # tissue may have the same value
    note = (
        f"The background ({background:.4g}) lies {where} the intensities of the head: "
        f"it was set to their darkest, {dark:.4g}."
    )
    return np.where(empty, dark, data), note


def face_value(data: NDArray[np.floating]) -> tuple[np.floating, float]:
    """Return the most frequent value on the faces of a volume (X, Y, Z), and the share of their voxels that have it."""
    # Not `take`: it copies the whole volume first if its memory is not in C order.
    faces = np.concatenate([np.moveaxis(data, axis, 0)[at].ravel() for axis in range(3) for at in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return values[counts.argmax()], float(counts.max() / faces.size)


def from_outside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected components of a mask (X, Y, Z) that touch a face of the volume."""
    from scipy import ndimage  # imported here: it takes a quarter of a second, and few scans need it

    components, count = ndimage.label(mask)
    touching = np.zeros(count + 1, bool)
    for axis in range(3):
        for at in (0, -1):
            touching[np.moveaxis(components, axis, 0)[at]] = True
    touching[0] = False
    found: NDArray[np.bool_] = touching[components]
    return found
