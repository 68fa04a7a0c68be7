"""Structure and side of each number in FreeSurfer's segmentations and SynthSeg's label maps.

==============================  ===================================================  =======================
segmentation                    numbers                                              structure
==============================  ===================================================  =======================
aseg                            those of `lodbrain.labels`                           the same
..                              9, 48 (older)                                        thalamus
..                              31, 63 (choroid plexus)                              lateral ventricle
..                              25, 57 (lesions), 77-79, 80-82 (hypointensities)     cerebral white matter
..                              192, 250-255 (corpus callosum, fornix)               cerebral white matter
..                              29, 61 (undetermined), 30, 62 (vessels), 72 (fifth   none
                                ventricle), 85 (optic chiasm), 165, 257-259 (skull,
                                CSF outside of the brain, head, eyes)
aparc+aseg, DKT                 1000-1035, 2000-2035                                 cerebral cortex
aparc.a2005s+aseg (older)       1100-1181, 2100-2181                                 cerebral cortex
aparc.a2009s+aseg               11100-11175, 12100-12175                             cerebral cortex
wmparc                          3000-3035, 4000-4035, 5001, 5002                     cerebral white matter
wmparc of a2005s and a2009s     3100-3181, 4100-4181, 13100-13175, 14100-14175       cerebral white matter
SynthSeg's label maps           136, 137, 163, 164                                   lateral and inferior
                                                                                     lateral ventricles
..                              500-530 (tissue outside of the brain)                none
==============================  ===================================================  =======================

77, 80, 192 and 250-255 have no side: each voxel gets the side of the nearest white matter that has one. 80 to 82,
hypointensities in grey matter, count as white matter, as in FreeSurfer's wmparc (mri_aparc2aseg --hypo-as-wm). Numbers
that are not listed are an error.

A map without sides has the left numbers in both hemispheres. It is recognised by having cerebral white matter and
cortex, no right numbers, symmetry, and midline structures on both sides of its plane of symmetry, at which it is split.

24 is a small part of the CSF in FreeSurfer, and all CSF inside the skull in SynthSeg and lodbrain.

References
----------
FreeSurfer's FreeSurferColorLUT.txt; SynthSeg (github.com/BBillot/SynthSeg).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.labels.numbers import count_numbers, replace_numbers
from lodbrain.labels.sides import fit_midplane, nearer_to_right
from lodbrain.labels.structures import STRUCTURES

#: Least symmetry at which a map with left numbers only counts as a whole brain. In SynthSeg's maps and five of young
#: adults, whole brains have 0.58 to 0.68, left hemispheres 0.24 to 0.40.
_LEAST_SYMMETRY = 0.5

# left number, right number, structure of the left one, structure of the right one
_PAIRED = [
    *((label.index, label.mirror, label.index, label.mirror) for label in STRUCTURES if label.side == "left"),
    (9, 48, 10, 49),
    (31, 63, 4, 43),
    *((left, right, 2, 41) for left, right in ((25, 57), (78, 79), (81, 82), (5001, 5002))),
    *((left, right, 0, 0) for left, right in ((29, 61), (30, 62))),
    # parcels of the cortex, and of the white matter under them
    *((1000 + n, 2000 + n, 3, 42) for n in (*range(36), *range(100, 182), *range(10100, 10176))),
    *((3000 + n, 4000 + n, 2, 41) for n in (*range(36), *range(100, 182), *range(10100, 10176))),
]
_PAIRED_SYNTHSEG = [(136, 163, 4, 43), (137, 164, 5, 44)]
_WITHOUT_SIDE = (77, 80, 192, *range(250, 256))
_NONE = (0, 72, 85, 165, 257, 258, 259)


def _table(paired: Iterable[tuple[int, int, int, int]]) -> dict[int, tuple[int, int]]:
    left = {number: (structure, structure) for number, _, structure, _ in paired}
    right = {number: (structure, structure) for _, number, _, structure in paired}
    return left | right


#: Structure of each number in FreeSurfer's segmentations: the structure's index (`lodbrain.labels`, 0 for none) for a
#: voxel on the left and for a voxel on the right. Both are equal if the number defines the side.
FREESURFER: Mapping[int, tuple[int, int]] = MappingProxyType(
    dict.fromkeys(_NONE, (0, 0))
    | {label.index: (label.index, label.index) for label in STRUCTURES if label.side is None}
    | dict.fromkeys(_WITHOUT_SIDE, (2, 41))
    | _table(_PAIRED)
)

#: `FREESURFER` with the numbers of SynthSeg's label maps added, some of which mean something else in FreeSurfer.
SYNTHSEG: Mapping[int, tuple[int, int]] = MappingProxyType(
    {**FREESURFER, **_table(_PAIRED_SYNTHSEG), **dict.fromkeys(range(500, 531), (0, 0))}
)

#: Right number of each left number.
_RIGHT_OF = {left: right for left, right, _, _ in [*_PAIRED, *_PAIRED_SYNTHSEG]}
_RIGHT_NUMBERS = frozenset(_RIGHT_OF.values())

#: Left and right structures that determine the side of voxels without one: white matter or, if it is absent, all.
_WHITE_MATTER = ((2,), (41,))
_SIDED = tuple(tuple(label.index for label in STRUCTURES if label.side == side) for side in ("left", "right"))

_MIDLINE = tuple(label.index for label in STRUCTURES if label.side is None and label.tissue)

#: SynthSeg's numbers of tissue outside the brain.
_OUTSIDE = tuple(range(500, 531))

#: Largest number of labels that an error lists.
_LISTED = 8


def structures_of(
    labels: NDArray[np.integer],
    affine: NDArray[np.floating],
    *,
    path: str | PathLike[str] | None = None,
) -> NDArray[np.int16]:
    """Return the structure of each voxel of a segmentation in FreeSurfer's or SynthSeg's numbers.

    Parameters
    ----------
    labels : (X, Y, Z) int
    affine : (4, 4) float
        Voxel to world (RAS+), mm.

    Returns
    -------
    (X, Y, Z) int16
        Indices of `lodbrain.labels.STRUCTURES`.

    Raises
    ------
    InputError
        If a number is unknown, or the map has labels without a side but none with a side.

    Examples
    --------
    >>> row = np.array([1012, 2, 251, 251, 41, 4003]).reshape(6, 1, 1)
    >>> structures_of(row, np.eye(4)).ravel().tolist()
    [3, 2, 2, 41, 41, 41]
    """
    return translate(labels, affine, SYNTHSEG, path=path)


def translate(
    labels: NDArray[np.integer],
    affine: NDArray[np.floating],
    numbers: Mapping[int, tuple[int, int]],
    *,
    path: str | PathLike[str] | None = None,
) -> NDArray[np.int16]:
    """Return a label map translated to other numbers, with sides as in `structures_of`.

    Parameters
    ----------
    numbers : mapping of int to (int, int)
        For each number of `SYNTHSEG`, the new number on the left and on the right.
    """
    labels = _with_sides(labels, affine, path)
    present = list(count_numbers(labels))
    result: NDArray[Any] = replace_numbers(labels, {number: numbers[number][0] for number in present}, np.int16)
    unsided = [number for number in present if SYNTHSEG[number][0] != SYNTHSEG[number][1]]
    if not unsided:
        return result
    for structures in (_WHITE_MATTER, _SIDED):
        left, right = (
            np.isin(labels, [number for number in present if SYNTHSEG[number] in {(one, one) for one in side}])
            for side in structures
        )
        if left.any() or right.any():
            break
    else:
        what = f"label {unsided[0]} has no side, nor has any other label"
        raise InputError("no-sides", path, what, "Give a map with both hemispheres")
    without_side = np.isin(labels, unsided)
    on_right = without_side.copy()
    on_right[without_side] = nearer_to_right(without_side, left, right, affine)
    result[on_right] = replace_numbers(labels[on_right], {number: numbers[number][1] for number in unsided}, np.int16)
    return result


def _with_sides(
    labels: NDArray[np.integer], affine: NDArray[np.floating], path: str | PathLike[str] | None
) -> NDArray[np.integer]:
    """Return the label map; if it is a whole brain without sides, with right numbers to the right of its midplane."""
    present = list(count_numbers(labels))
    unknown = [number for number in present if number not in SYNTHSEG]
    if unknown:
        more = f" and {len(unknown) - _LISTED} more" * (len(unknown) > _LISTED)
        what = f"labels that are not in the table: {unknown[:_LISTED]}{more}"
        raise InputError("labels", path, what, "Map them to FreeSurfer's numbers first")
    left_numbers = [number for number in present if number in _RIGHT_OF]
    structures = {SYNTHSEG[number] for number in present}
    if not structures >= {(2, 2), (3, 3)} or any(number in _RIGHT_NUMBERS for number in present):
        return labels
    midplane = fit_midplane(np.where(np.isin(labels, _OUTSIDE), 0, labels), affine)
    on_right = midplane.is_right(labels.shape, affine)
    # In a single hemisphere, the brainstem and the third and fourth ventricle lie on one side of the fitted plane.
    middle = on_right[np.isin(labels, _MIDLINE)]
    if midplane.symmetry < _LEAST_SYMMETRY or (middle.size and not 0.1 < middle.mean() < 0.9):
        return labels
    right = on_right & np.isin(labels, left_numbers)
    sided = labels.astype(np.int32)
    sided[right] = replace_numbers(labels[right], {number: _RIGHT_OF[number] for number in left_numbers}, np.int32)
    return sided
