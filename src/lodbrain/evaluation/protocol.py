"""Protocol of a reference with few labels: how it treats structures that it does not name, derived from the data.

A manual segmentation of grey and white matter does not document how cerebellum, deep grey matter and ventricles are
labelled. The position of its labels relative to our structures shows it. The rule, fixed before evaluation:

- cerebral cortex is grey matter, cerebral white matter is white matter: these are what the reference segments;
- another paired structure is *grey*, *white* or *nothing* if at least `CLEAR` of its voxels, over all cases together,
  have that label, and counts as that;
- a structure for which no share reaches `CLEAR`, and a midline structure that is labelled (it has no side), is *mixed*:
  its voxels are excluded from evaluation, in prediction and reference.

References
----------
The rule uses references of the evaluated cases. It has four outcomes per structure, does not depend on single voxels,
and is reported with the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, STRUCTURES

Treatment: TypeAlias = Literal["grey", "white", "nothing", "mixed"]

#: Share of a structure's voxels from which on their label decides its treatment.
CLEAR = 0.75
#: Structures with fewer voxels are treated as nothing.
LEAST_VOXELS = 20
GIVEN: dict[str, Treatment] = {"Cerebral-Cortex": "grey", "Cerebral-White-Matter": "white"}
_MIDLINE = {label.name for label in STRUCTURES if label.side is None}


@dataclass(frozen=True)
class Shares:
    """Distribution of the reference's labels in one of our structures, both sides together, as shares of its voxels.

    The structure ``"Background"`` is the voxels outside of all our structures. Shares are NaN where it has no voxels.
    """

    structure: str
    voxels: int
    grey: float
    white: float
    nothing: float
    treatment: Treatment


def count_labels(classes: NDArray[np.integer], tissue: NDArray[np.integer]) -> NDArray[np.int64]:
    """(19, 3) voxels of each structure without sides that the reference labels as nothing, grey and white.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Our classes, positions in `STRUCTURES`.
    tissue : (X, Y, Z) int
        The reference: 0 nothing, 1 grey, 2 white matter.
    """
    counts = np.zeros(len(SIDELESS) * 3, np.int64)
    for ours, theirs in zip(classes, tissue, strict=True):
        both = SIDELESS_OF_CLASS[ours] * 3 + theirs
        counts += np.bincount(both.ravel(), minlength=len(counts))
    return counts.reshape(-1, 3)


def decide_protocol(counts: NDArray[np.integer]) -> tuple[Shares, ...]:
    """Return the reference's treatment of each structure, from counts over all cases.

    Parameters
    ----------
    counts : (19, 3) int
        Sum of `count_labels` over the cases.
    """
    rows = []
    for name, (nothing, grey, white) in zip(SIDELESS, counts.tolist(), strict=True):
        total = nothing + grey + white
        shares: dict[Treatment, int] = {"nothing": nothing, "grey": grey, "white": white}
        treatment: Treatment = "nothing"
        if name in GIVEN:
            treatment = GIVEN[name]
        elif name != "Background" and total >= LEAST_VOXELS:
            found = [kind for kind, voxels in shares.items() if voxels >= CLEAR * total]
            treatment = found[0] if found else "mixed"
            if name in _MIDLINE and treatment != "nothing":
                treatment = "mixed"
        parts = {kind: voxels / total if total else float("nan") for kind, voxels in shares.items()}
        rows.append(Shares(name, total, parts["grey"], parts["white"], parts["nothing"], treatment))
    return tuple(rows)


def apply_protocol(
    classes: NDArray[np.integer], protocol: tuple[Shares, ...], numbers: Mapping[tuple[str, str], int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return our label map in the reference's labels, and the evaluated region.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Positions in `STRUCTURES`.
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
