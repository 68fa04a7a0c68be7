"""Overlap of two masks, from voxel counts.

References
----------
Taha AA, Hanbury A. Metrics for evaluating 3D medical image segmentation. BMC Medical Imaging 15:29 (2015),
doi:10.1186/s12880-015-0068-x: Dice (eq. 6), volumetric similarity (eq. 22).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """Voxel counts of two masks, the prediction's and the reference's, and of their intersection."""

    pred: int
    ref: int
    both: int

    @property
    def dice(self) -> float:
        """2 |P and R| / (|P| + |R|); 0 if one is empty, NaN if both are."""
        return 2 * self.both / (self.pred + self.ref) if self.pred + self.ref else math.nan

    @property
    def volume_similarity(self) -> float:
        """1 - | |P| - |R| | / (|P| + |R|), independent of position; 0 if one is empty, NaN if both are."""
        return 1 - abs(self.pred - self.ref) / (self.pred + self.ref) if self.pred + self.ref else math.nan


def count(pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> Counts:
    """Return voxel counts of two masks of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> counts = count(np.array([True, True, False]), np.array([True, False, False]))
    >>> counts.pred, counts.ref, counts.both, round(counts.dice, 3), round(counts.volume_similarity, 3)
    (2, 1, 1, 0.667, 0.667)
    """
    if pred.shape != ref.shape:
        raise ValueError(f"pred and ref must have one shape, got {pred.shape} and {ref.shape}")
    return Counts(int(np.count_nonzero(pred)), int(np.count_nonzero(ref)), int(np.count_nonzero(pred & ref)))


def contingency(pred: NDArray[np.uint8], ref: NDArray[np.uint8], n: int) -> NDArray[np.int64]:
    """(n, n) voxel counts of each combination of two maps with values 0..n-1; rows are the prediction's.

    The maps are (X, Y, Z) uint8, and n at most 256.
    """
    table = np.zeros(n * n, dtype=np.int64)
    for one, other in zip(pred, ref, strict=True):  # slab by slab: the joint index is eight times as large as the maps
        table += np.bincount(one.ravel().astype(np.intp) * n + other.ravel(), minlength=n * n)
    return table.reshape(n, n)


def counts_of(table: NDArray[np.int64], values: list[int]) -> Counts:
    """Return the counts of two masks (voxels with one of `values`) from a `contingency` table."""
    return Counts(int(table[values].sum()), int(table[:, values].sum()), int(table[np.ix_(values, values)].sum()))
