"""Metrics of one label map against another: one row for each region that both tables can represent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.evaluation.grids import on_grid_of
from lodbrain.evaluation.overlap import contingency, counts_of
from lodbrain.evaluation.regions import N_ATOMS, UNSIDED, Region, RegionLevel, RegionSide, regions_of
from lodbrain.evaluation.surface import surface_distances
from lodbrain.evaluation.tables import LabelTable
from lodbrain.images.image import Image
from lodbrain.labels import CLASS_OF_INDEX, STRUCTURES
from lodbrain.labels.sides import nearer_to_right

#: both: in either map; missed (false negative): only in the reference; invented (false positive): only in the
#: prediction; absent: in neither.
Status: TypeAlias = Literal["both", "missed", "invented", "absent"]

#: Quality metrics among the columns of `ScoreRow`; True if more is better.
METRICS: dict[str, bool] = {
    "dice": True,
    "volume_similarity": True,
    "hd95_mm": False,
    "assd_mm": False,
    "nsd_1vox": True,
    "nsd_1mm": True,
}

#: Headers store float32: rounding must not make a distance of one voxel exceed a tolerance of one voxel.
_SLACK = 1 + 1e-4

#: Longest list of numbers in a note.
_LISTED = 6


@dataclass(frozen=True)
class ScoreRow:
    """Metrics of one region in one case. Undefined metrics are NaN: see the table in docs/reference/evaluation.md.

    Attributes
    ----------
    level, region, side : str
        ``"structure"``, ``"Thalamus"``, ``"left"``: see `lodbrain.evaluation.regions`.
    status : {"both", "missed", "invented", "absent"}
    dice, volume_similarity : float
        0 to 1.
    hd95_mm, assd_mm : float
        95th percentile of the surface distances, and their mean over both surfaces.
    nsd_1vox, nsd_1mm : float
        Normalised surface Dice at a tolerance of the longest voxel side, and of 1 mm.
    """

    case: str
    level: RegionLevel
    region: str
    side: RegionSide
    status: Status
    dice: float
    volume_similarity: float
    hd95_mm: float
    assd_mm: float
    nsd_1vox: float
    nsd_1mm: float
    pred_volume_mm3: float
    ref_volume_mm3: float


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ScoreRow))


@dataclass(frozen=True)
class PairScore:
    """Metrics and notes of one pair.

    Attributes
    ----------
    notes : tuple of str
        Unusual findings, one sentence each.
    """

    rows: tuple[ScoreRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Surfaces:
    hd95_mm: float = math.nan
    assd_mm: float = math.nan
    nsd_1vox: float = math.nan
    nsd_1mm: float = math.nan


def score_pair(
    pred: Image,
    ref: Image,
    *,
    case: str = "",
    pred_table: LabelTable,
    ref_table: LabelTable,
    surfaces: bool = True,
    resample: bool = False,
    threads: int = 1,
) -> PairScore:
    """Compute the metrics of one label map against another.

    Parameters
    ----------
    pred, ref : Image
        Label maps. They may differ in the order and direction of their axes, not in their grid.
    surfaces : bool
        False skips the surface distances, which take most of the time: they are NaN.
    resample : bool
        Resample a prediction on another grid to the reference's, by nearest neighbour.

    Raises
    ------
    InputError
        ``other-grid``: the grids differ, and `resample` is False.

    Examples
    --------
    >>> import numpy as np
    >>> from lodbrain.evaluation.tables import STRUCTURES_TABLE
    >>> labels = np.zeros((8, 8, 8), np.int16)
    >>> labels[2:5, 2:6, 2:6] = 10
    >>> image = Image(labels, np.diag([1.0, 1.0, 2.0, 1.0]))
    >>> score = score_pair(image, image, pred_table=STRUCTURES_TABLE, ref_table=STRUCTURES_TABLE)
    >>> row = next(row for row in score.rows if row.region == "Thalamus" and row.side == "left")
    >>> row.status, row.dice, row.hd95_mm, row.ref_volume_mm3
    ('both', 1.0, 0.0, 96.0)
    """
    pred_data, notes = on_grid_of(ref, pred, resample=resample)
    pred_atoms, pred_notes = _atoms(pred_data, pred_table, ref.affine, "the prediction")
    ref_atoms, ref_notes = _atoms(ref.data, ref_table, ref.affine, "the reference")
    regions = regions_of(pred_table.known, ref_table.known)
    table = contingency(pred_atoms, ref_atoms, N_ATOMS)
    found = dict.fromkeys(regions, _Surfaces())
    if surfaces:
        found |= _all_surfaces(pred_atoms, ref_atoms, regions, ref.spacing_mm, threads=threads)

    rows = []
    for region in regions:
        counts, distances = counts_of(table, sorted(region.atoms)), found[region]
        status: Status = "both" if counts.pred and counts.ref else "missed" if counts.ref else "invented"
        if not counts.pred and not counts.ref:
            status = "absent"
        if surfaces and status in ("missed", "invented"):
            # One mask is empty: distances are undefined, and no part of the other surface is within the tolerance.
            distances = _Surfaces(nsd_1vox=0.0, nsd_1mm=0.0)
        rows.append(
            ScoreRow(
                case=case,
                level=region.level,
                region=region.name,
                side=region.side,
                status=status,
                dice=counts.dice,
                volume_similarity=counts.volume_similarity,
                **asdict(distances),
                pred_volume_mm3=counts.pred * ref.voxel_volume_mm3,
                ref_volume_mm3=counts.ref * ref.voxel_volume_mm3,
            )
        )
    return PairScore(tuple(rows), (*notes, *pred_notes, *ref_notes, *_partial(rows)))


def _partial(rows: Sequence[ScoreRow]) -> list[str]:
    """Return a note if the reference lacks most structures, because it is probably incomplete."""
    single = [row for row in rows if row.level == "structure"]
    invented = sum(row.status == "invented" for row in single)
    if 2 * invented <= len(single):
        return []
    return [
        f"The reference lacks {invented} of {len(single)} structures of the prediction, which score 0. If they "
        "were never labelled, give a table without them."
    ]


def _atoms(
    labels: NDArray[np.integer], table: LabelTable, affine: NDArray[np.floating], whose: str
) -> tuple[NDArray[np.uint8], list[str]]:
    atoms, unknown = table.apply(labels)
    notes = []
    if unknown:
        most = sorted(unknown, key=lambda number: -unknown[number])
        listed = ", ".join(map(str, most[:_LISTED])) + (f" and {len(most) - _LISTED} more" * (len(most) > _LISTED))
        notes.append(
            f"Labels {listed} of {whose} ({sum(unknown.values())} voxels) are not in the table {table.name}: "
            "they count as background."
        )
    for name, unsided in UNSIDED.items():
        left = next(place for place, label in enumerate(STRUCTURES) if label.name == f"Left-{name}")
        right = CLASS_OF_INDEX[STRUCTURES[left].mirror]
        if {unsided, left, right} <= table.known and (given := _give_sides(atoms, unsided, (left, right), affine)):
            notes.append(
                f"{given} voxels of {name} have no side in {whose}: each got that of the nearest ones with one."
            )
    return atoms, notes


def _give_sides(atoms: NDArray[np.uint8], unsided: int, sides: tuple[int, int], affine: NDArray[np.floating]) -> int:
    """Give voxels of `unsided` the nearer side, in place; return their number."""
    without, left, right = (atoms == atom for atom in (unsided, *sides))
    if not without.any() or not (left.any() or right.any()):
        return 0
    atoms[without] = np.where(nearer_to_right(without, left, right, affine), sides[1], sides[0])
    return int(np.count_nonzero(without))


def _all_surfaces(
    pred: NDArray[np.uint8],
    ref: NDArray[np.uint8],
    regions: Sequence[Region],
    spacing_mm: NDArray[np.float64],
    *,
    threads: int,
) -> dict[Region, _Surfaces]:
    """Return surface metrics of the regions present in both maps, the largest boxes first."""
    boxes = _boxes(pred, ref)
    # Regions of the same atoms, such as the brainstem and its tissue class, are computed once.
    masks: dict[frozenset[int], list[Region]] = {}
    for region in regions:
        masks.setdefault(region.atoms.intersection(boxes), []).append(region)
    jobs = {atoms: _union([boxes[atom] for atom in atoms]) for atoms in masks if atoms}
    order = sorted(jobs, key=lambda atoms: -math.prod(part.stop - part.start for part in jobs[atoms]))

    def work(atoms: frozenset[int]) -> _Surfaces | None:
        inside = np.zeros(N_ATOMS, dtype=bool)
        inside[list(atoms)] = True
        box = jobs[atoms]
        distances = surface_distances(inside[pred[box]], inside[ref[box]], spacing_mm)
        if distances is None:
            return None
        longest = float(spacing_mm.max())
        return _Surfaces(
            distances.hausdorff(95.0),
            distances.average(),
            distances.dice(longest * _SLACK),
            distances.dice(1.0 * _SLACK),
        )

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        done = dict(zip(order, pool.map(work, order), strict=True))
    return {region: found for atoms, found in done.items() if found is not None for region in masks[atoms]}


def _boxes(pred: NDArray[np.uint8], ref: NDArray[np.uint8]) -> dict[int, tuple[slice, ...]]:
    """Return the bounding box of each atom in both maps together."""
    boxes: dict[int, tuple[slice, ...]] = {}
    for atoms in (pred, ref):
        for atom, box in enumerate(ndimage.find_objects(atoms), start=1):
            if box is not None:
                boxes[atom] = _union([boxes[atom], box]) if atom in boxes else box
    return boxes


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*boxes, strict=True)
    )
