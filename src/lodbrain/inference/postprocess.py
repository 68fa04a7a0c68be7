"""Connected components of a label map: the largest per structure is kept, the others are filled from neighbours."""

from __future__ import annotations

from itertools import product

import cc3d
import numpy as np
from numpy.typing import NDArray

from lodbrain.inference.counts import occupied
from lodbrain.labels import BASAL_GANGLIA, CLASS_OF_INDEX, GREY_MATTER, VENTRICLES, Scheme

#: Classes that may have several connected components, by a model's scheme of classes. Structures: the lateral
#: ventricles, their inferior horns and the CSF, which have several in reference label maps, too. Of every other
#: structure the largest component holds 98% or more in SynthSeg's 20 heads, five young brains and three of 7 T.
#: Tissues: those with two sides.
SEVERAL_PIECES: dict[Scheme, tuple[int, ...]] = {
    "structures": tuple(CLASS_OF_INDEX[index] for index in (4, 43, 5, 44, 24)),
    "tissue": (GREY_MATTER, BASAL_GANGLIA, VENTRICLES),
}

_NEIGHBOURS = [offset for offset in product((-1, 0, 1), repeat=3) if any(offset)]
#: Marks a voxel that has no class yet; above every class.
_STRAY = 63
_SLAB_VOXELS = 2_000_000
_STRAYS_AT_ONCE = 200_000


def keep_largest(classes: NDArray[np.uint8], *, leave: tuple[int, ...] = ()) -> int:
    """Keep the largest connected component of each class, in place; return how many voxels changed their class.

    Connectivity is 26. The other components are filled from outside inwards, one layer of voxels at a time: each voxel
    gets the most frequent class among those neighbours that have one (the lowest class if tied). A class therefore only
    gains voxels that touch it, so one pass is enough. Voxels outside the volume count as background.

    Parameters
    ----------
    classes : (X, Y, Z) uint8
        Class of each voxel, 0 for background, below 63. Modified in place.
    leave : tuple of int
        Classes besides the background that may have several components: see `SEVERAL_PIECES`.

    Examples
    --------
    >>> classes = np.ones((5, 5, 5), np.uint8)
    >>> classes[0, 0, :2] = classes[3, 3, 3] = 2
    >>> keep_largest(classes), int(classes[3, 3, 3]), int((classes == 2).sum())
    (1, 1, 2)
    """
    before = classes[occupied(classes)]
    if not before.size:
        return 0
    # A margin of background: every voxel has 26 neighbours, at the same offsets in memory.
    work = np.pad(before, 1)
    _mark_strays(work, leave)
    _fill(work)
    after = work[1:-1, 1:-1, 1:-1]
    moved = sum(int(np.count_nonzero(a != b)) for a, b in zip(after, before, strict=True))
    before[:] = after
    return moved


def _mark_strays(classes: NDArray[np.uint8], leave: tuple[int, ...]) -> None:
    """Set all but the largest component of each class to `_STRAY`, in place.

    Component numbers take four bytes a voxel. NumPy counts and indexes with eight, so both are done slab by slab.
    """
    components = cc3d.connected_components(classes, connectivity=26, out_dtype=np.uint32)
    rows = max(1, _SLAB_VOXELS // classes[0].size)
    parts = [slice(start, start + rows) for start in range(0, len(classes), rows)]
    count = max(int(components[part].max()) for part in parts) + 1
    sizes, class_of = np.zeros(count, np.int64), np.zeros(count, np.uint8)
    for part in parts:
        numbers = components[part].ravel()
        sizes += np.bincount(numbers, minlength=count)
        class_of[numbers] = classes[part].ravel()
    stray = np.zeros(count, bool)
    for value in np.unique(class_of):
        if value == 0 or value in leave:
            continue
        pieces = np.flatnonzero(class_of == value)
        stray[pieces] = True
        stray[pieces[np.argmax(sizes[pieces])]] = False
    for part in parts:
        classes[part][stray[components[part]]] = _STRAY


def _fill(classes: NDArray[np.uint8]) -> None:
    """Give every stray voxel a class, layer by layer, in place; no stray voxel may lie on the faces of the volume."""
    flat = classes.reshape(-1)
    at = np.concatenate([np.flatnonzero(part == _STRAY) + n * part.size for n, part in enumerate(classes)])
    _, y, z = classes.shape
    around = [(dx * y + dy) * z + dz for dx, dy, dz in _NEIGHBOURS]
    while len(at):
        parts = [at[start : start + _STRAYS_AT_ONCE] for start in range(0, len(at), _STRAYS_AT_ONCE)]
        chosen = np.concatenate([_most_around(flat, part, around) for part in parts])
        flat[at] = chosen  # after all are chosen: the result must not depend on their order
        at = at[chosen == _STRAY]


def _most_around(flat: NDArray[np.uint8], at: NDArray[np.intp], around: list[int]) -> NDArray[np.uint8]:
    """Return the most frequent class around each flat position `at`; `_STRAY` if no neighbour has a class."""
    rows = np.arange(len(at))
    votes = np.zeros((len(at), _STRAY + 1), np.uint8)
    for offset in around:
        votes[rows, flat[at + offset]] += 1
    votes[:, _STRAY] = 0
    most: NDArray[np.uint8] = votes.argmax(1).astype(np.uint8)
    most[~votes.any(1)] = _STRAY
    return most
