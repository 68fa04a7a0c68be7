"""What a reference with few labels does with structures that it does not name: seen from the data, then decided.

A manual segmentation of grey and white matter says nothing in words about cerebellum, deep grey matter or ventricles.
Where its labels lie relative to our structures says it. The rule, written before anything is scored:

- cerebral cortex is grey matter, cerebral white matter is white matter: that is what the reference is of;
- another paired structure is *grey*, *white* or *nothing* if at least `CLEAR` of its voxels, over all cases together,
  are labelled so, and counts as that;
- a structure for which no share reaches `CLEAR`, and a midline structure that is labelled (it has no side), is *mixed*:
  its voxels are left out of what is scored, in prediction and reference.

References
----------
The rule looks at references of the very cases that are scored. It has four outcomes a structure, depends on no single
voxel's being right, and is reported with the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, STRUCTURES

Treatment: TypeAlias = Literal["grey", "white", "nothing", "mixed"]

#: Share of a structure's voxels that decides what the reference takes it for.
CLEAR = 0.75
#: A structure that is hardly there says nothing.
LEAST_VOXELS = 20
GIVEN: dict[str, Treatment] = {"Cerebral-Cortex": "grey", "Cerebral-White-Matter": "white"}
_MIDLINE = {label.name for label in STRUCTURES if label.side is None}


@dataclass(frozen=True)
class Shares:
    """Where the reference's labels lie in one structure of ours, sides together.

    Attributes
    ----------
    structure : str
        ``"Background"`` is what we label as nothing.
    voxels : int
    grey, white, nothing : float
        Shares of its voxels; NaN where it has none.
    treatment : {"grey", "white", "nothing", "mixed"}
    """

    structure: str
    voxels: int
    grey: float
    white: float
    nothing: float
    treatment: Treatment


def count_labels(classes: NDArray[np.integer], tissue: NDArray[np.integer]) -> NDArray[np.int64]:
    """(19, 3) voxels of each structure without sides that the reference calls nothing, grey and white.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Ours, positions in `STRUCTURES`.
    tissue : (X, Y, Z) int
        The reference: 0 nothing, 1 grey, 2 white matter.
    """
    counts = np.zeros(len(SIDELESS) * 3, np.int64)
    for ours, theirs in zip(classes, tissue, strict=True):
        both = SIDELESS_OF_CLASS[ours] * 3 + theirs
        counts += np.bincount(both.ravel(), minlength=len(counts))
    return counts.reshape(-1, 3)


def decide_protocol(counts: NDArray[np.integer]) -> tuple[Shares, ...]:
    """What the reference does with each structure, from counts over all cases.

    Parameters
    ----------
    counts : (19, 3) int
        As `count_labels`, added up.
    """
    rows = []
    for name, (nothing, grey, white) in zip(SIDELESS, counts.tolist(), strict=True):
        total = nothing + grey + white
        shares = {"nothing": nothing, "grey": grey, "white": white}
        treatment: Treatment = "nothing"
        if name in GIVEN:
            treatment = GIVEN[name]
        elif name != "Background" and total >= LEAST_VOXELS:
            found = [kind for kind, voxels in shares.items() if voxels >= CLEAR * total]
            treatment = _of_words(found[0]) if found else "mixed"
            if name in _MIDLINE and treatment != "nothing":
                treatment = "mixed"
        parts = {kind: voxels / total if total else float("nan") for kind, voxels in shares.items()}
        rows.append(Shares(name, total, parts["grey"], parts["white"], parts["nothing"], treatment))
    return tuple(rows)


def _of_words(kind: str) -> Treatment:
    return "grey" if kind == "grey" else "white" if kind == "white" else "nothing"


def apply_protocol(
    classes: NDArray[np.integer], protocol: tuple[Shares, ...], numbers: Mapping[tuple[str, str], int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Our label map in the reference's labels, and the region that is scored.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Positions in `STRUCTURES`.
    protocol : tuple of Shares
    numbers : mapping of (tissue, side) to int
        The reference's label of ``("grey", "left")`` and so on.

    Returns
    -------
    labels : (X, Y, Z) uint8
    scored : (X, Y, Z) bool
        False where a structure is mixed.
    """
    treatments = {row.structure: row.treatment for row in protocol}
    table = np.zeros(len(STRUCTURES), np.uint8)
    scored = np.ones(len(STRUCTURES), bool)
    for place, label in enumerate(STRUCTURES):
        treatment = treatments[SIDELESS[SIDELESS_OF_CLASS[place]]]
        scored[place] = treatment != "mixed"
        if treatment in ("grey", "white") and label.side is not None:
            table[place] = numbers[treatment, label.side]
    return table[classes], scored[classes]
