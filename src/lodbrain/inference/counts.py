"""Voxel counts and index look-up of a label map's classes, within the bounding box of the foreground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def occupied(classes: NDArray[np.integer | np.bool_], *, margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds all voxels above 0, with a margin in voxels; empty if there are none.

    Examples
    --------
    >>> occupied(np.array([[[0, 2, 2, 0, 0]]]), margin=1)
    (slice(0, 1, None), slice(0, 1, None), slice(0, 4, None))
    """
    spans = []
    for axis, size in enumerate(classes.shape):
        at = np.flatnonzero(classes.any(tuple(other for other in range(3) if other != axis)))
        spans.append(slice(max(0, int(at[0]) - margin), min(size, int(at[-1]) + 1 + margin)) if len(at) else slice(0))
    return spans[0], spans[1], spans[2]


def voxels_of_class(classes: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Return the number of voxels of each of `count` classes.

    Slices of the foreground's box are counted one by one, because NumPy's bincount copies its input to eight bytes a
    voxel.

    Examples
    --------
    >>> voxels_of_class(np.array([[[0, 2, 2]]]), 4).tolist()
    [1, 0, 2, 0]
    """
    inside = classes[occupied(classes)]
    counts = sum((np.bincount(part.ravel(), minlength=count) for part in inside), start=np.zeros(count, np.int64))
    counts[0] += classes.size - inside.size
    return counts


def indices_of(classes: NDArray[np.uint8], index: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return a label map (X, Y, Z) with the index of each voxel's class, converted slice by slice to save memory.

    Examples
    --------
    >>> indices_of(np.array([[[0, 2, 1]]], np.uint8), np.array([0, 16, 24])).tolist()
    [[[0, 24, 16]]]
    """
    table, where = index.astype(np.uint8), occupied(classes)
    labels = np.full_like(classes, table[0])
    for part, made in zip(classes[where], labels[where], strict=True):
        made[:] = table[part]
    return labels
