"""Classes of a label map in FreeSurfer's numbers that lies on the grid of a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.labels import CLASS_OF_INDEX
from lodbrain.synthesis.labelmaps import TARGET_OF_OTHER

#: FreeSurfer's numbers beyond the table that are brain: corpus callosum, choroid plexus, cortical parcels.
_OTHERS = {**TARGET_OF_OTHER, **dict.fromkeys(range(251, 256), 2), 31: 4, 63: 43}
_PARCELS = ((1000, 2000, 3), (2000, 3000, 42))

#: Voxel positions that may differ between a scan and its labels: headers store float32.
_SAME_MM = 0.01


def classes_of(labels: Image, scan: Image, path: Path) -> NDArray[np.uint8]:
    """Classes of a label map in FreeSurfer's numbers, on the grid of a scan.

    Parcels of the cortex are cortex, corpus callosum and lesions are white matter, choroid plexus is ventricle; what
    is outside of the brain is background.

    Parameters
    ----------
    labels, scan : Image
    path : Path
        Of the label map, for errors.

    Returns
    -------
    (X, Y, Z) uint8
        Positions in `lodbrain.labels.STRUCTURES`.

    Raises
    ------
    InputError
        If the label map is on another grid, or holds no structure.
    """
    if labels.shape != scan.shape or np.abs(labels.affine - scan.affine).max() > _SAME_MM:
        what = f"the label map is on another grid ({labels.shape}) than its scan ({scan.shape})"
        raise InputError("other-grid", path, what, "Resample it to the scan first")
    classes = to_classes(labels.data)
    if not classes.any():
        raise InputError("empty-map", path, "no brain structure in the label map", "Use FreeSurfer's numbers")
    return classes


def to_classes(raw: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Classes (X, Y, Z) of FreeSurfer's numbers (X, Y, Z); numbers that are no brain are background."""
    numbers = np.unique(raw)
    target = {number: _OTHERS.get(number, number) for number in numbers.tolist()}
    for first, last, number in _PARCELS:
        target |= {parcel: number for parcel in target if first <= parcel < last}
    table = np.array([CLASS_OF_INDEX.get(target[number], 0) for number in numbers.tolist()], np.uint8)
    classes: NDArray[np.uint8] = table[np.searchsorted(numbers, raw)]
    return classes
