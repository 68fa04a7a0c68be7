"""Conversion of FreeSurfer label maps on the grid of a scan to classes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.labels import CLASS_OF_INDEX
from lodbrain.labels.freesurfer import structures_of
from lodbrain.labels.numbers import replace_numbers

#: Tolerance of the affines of a scan and its labels: headers store float32.
_SAME_MM = 0.01


def classes_of(labels: Image, scan: Image, path: Path) -> NDArray[np.uint8]:
    """Return the classes (X, Y, Z) uint8 of a label map in FreeSurfer's numbers, on the grid of a scan.

    `lodbrain.labels.freesurfer` defines the accepted numbers and their meaning.

    Raises
    ------
    InputError
        If the label map is on another grid, has an unknown number, or contains no structure.
    """
    if labels.shape != scan.shape or np.abs(labels.affine - scan.affine).max() > _SAME_MM:
        what = f"the label map is on another grid ({labels.shape}) than its scan ({scan.shape})"
        raise InputError("other-grid", path, what, "Resample it to the scan first")
    classes = to_classes(labels.data, labels.affine, path)
    if not classes.any():
        raise InputError("empty-map", path, "no brain structure in the label map", "Use FreeSurfer's numbers")
    return classes


def to_classes(
    labels: NDArray[np.integer], affine: NDArray[np.floating], path: str | PathLike[str] | None = None
) -> NDArray[np.uint8]:
    """Return the classes of FreeSurfer's numbers; InputError if one is unknown.

    Parameters
    ----------
    labels : (X, Y, Z) int
    affine : (4, 4) float
        Voxel to world (RAS+), mm. The side of some numbers is determined by position.
    """
    classes: NDArray[np.uint8] = replace_numbers(structures_of(labels, affine, path=path), CLASS_OF_INDEX, np.uint8)
    return classes
