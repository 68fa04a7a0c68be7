"""Islands: a structure is one piece, but for the ventricles and the CSF."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray


def keep_largest(
    classes: NDArray[np.uint8], second: NDArray[np.uint8], *, leave: tuple[int, ...] = ()
) -> NDArray[np.uint8]:
    """Give all but the largest component of each class to the class that is next best there.

    Parameters
    ----------
    classes : (X, Y, Z) uint8
        Class of each voxel, 0 for background.
    second : (X, Y, Z) uint8
        Next best class of each voxel.
    leave : tuple of int
        Classes that may lie in several pieces.

    Returns
    -------
    (X, Y, Z) uint8
        A new array. Components are of 26 neighbours.
    """
    out = classes.copy()
    filled = [np.flatnonzero(classes.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not all(len(at) for at in filled):
        return out
    box = tuple(slice(int(at[0]), int(at[-1]) + 1) for at in filled)
    out[box] = _in_box(np.ascontiguousarray(classes[box]), second[box], leave)
    return out


def _in_box(classes: NDArray[np.uint8], second: NDArray[np.uint8], leave: tuple[int, ...]) -> NDArray[np.uint8]:
    """The same where something is; components take four bytes a voxel."""
    out = classes.copy()
    components = cc3d.connected_components(classes, connectivity=26)
    sizes = np.bincount(components.ravel())
    class_of = np.zeros(len(sizes), np.uint8)
    class_of[components.ravel()] = classes.ravel()
    keep = np.ones(len(sizes), bool)
    for value in np.unique(classes):
        if value == 0 or value in leave:
            continue
        pieces = np.flatnonzero(class_of == value)
        keep[pieces] = False
        keep[pieces[np.argmax(sizes[pieces])]] = True
    keep[0] = True
    islands = ~keep[components]
    out[islands] = second[islands]
    return out
