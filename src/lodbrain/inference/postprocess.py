"""Islands: a structure is one piece, but for the ventricles and the CSF."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

_SLAB_VOXELS = 2_000_000


def keep_largest(classes: NDArray[np.uint8], second: NDArray[np.uint8], *, leave: tuple[int, ...] = ()) -> int:
    """Give all but the largest component of each class to the class that is next best there, in place.

    Parameters
    ----------
    classes : (X, Y, Z) uint8
        Class of each voxel, 0 for background. It is changed.
    second : (X, Y, Z) uint8
        Next best class of each voxel.
    leave : tuple of int
        Classes that may lie in several pieces.

    Returns
    -------
    int
        How many voxels have another class now. Components are of 26 neighbours.
    """
    filled = [np.flatnonzero(classes.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not all(len(at) for at in filled):
        return 0
    box = tuple(slice(int(at[0]), int(at[-1]) + 1) for at in filled)
    return _in_box(classes[box], second[box], leave)


def _in_box(classes: NDArray[np.uint8], second: NDArray[np.uint8], leave: tuple[int, ...]) -> int:
    """The same where something is.

    Components take four bytes a voxel. NumPy counts and looks up with eight, so that goes slab by slab.
    """
    components = cc3d.connected_components(np.ascontiguousarray(classes), connectivity=26, out_dtype=np.uint32)
    rows = max(1, _SLAB_VOXELS // max(1, classes[0].size))
    parts = [slice(start, start + rows) for start in range(0, len(classes), rows)]
    count = max(int(components[part].max()) for part in parts) + 1
    sizes, class_of = np.zeros(count, np.int64), np.zeros(count, np.uint8)
    for part in parts:
        numbers = components[part].ravel()
        sizes += np.bincount(numbers, minlength=count)
        class_of[numbers] = classes[part].ravel()
    keep = np.ones(count, bool)
    for value in np.unique(class_of):
        if value == 0 or value in leave:
            continue
        pieces = np.flatnonzero(class_of == value)
        keep[pieces] = False
        keep[pieces[np.argmax(sizes[pieces])]] = True
    keep[0] = True
    moved = 0
    for part in parts:
        islands = ~keep[components[part]]
        moved += int(np.count_nonzero(classes[part][islands] != second[part][islands]))
        classes[part][islands] = second[part][islands]
    return moved
