"""Manual labels of UltraCortex: their label table, and the evaluation of our structures against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodbrain.datasets.ultracortex import LABELS, ManualScan, trained_on
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.grids import on_grid_of
from lodbrain.evaluation.groups import Interval, bootstrap_mean
from lodbrain.evaluation.protocol import Shares, apply_protocol
from lodbrain.evaluation.score import ScoreRow, score_pair
from lodbrain.evaluation.tables import FREESURFER_TABLE
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.labels import CLASS_OF_INDEX
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.settings import Model

#: The manual labels have FreeSurfer's numbers.
TABLE = FREESURFER_TABLE.restricted(LABELS, "ultracortex")
NUMBER_OF = {(words.split()[0], side): number for number, (words, side) in LABELS.items()}
TISSUE_OF_LABEL = np.zeros(256, np.uint8)
for _number, (_words, _) in LABELS.items():
    TISSUE_OF_LABEL[_number] = 1 if _words.startswith("grey") else 2


class PublishedResult(NamedTuple):
    """A result published on these twelve scans."""

    method: str
    figure: str
    remark: str


#: As stated by their authors, who may treat structures that the manual labels leave out differently.
PUBLISHED = (
    PublishedResult("GOUHFI", "Dice 0.93", "its training labels include scans at 9.4 T"),
    PublishedResult("SIAM", "Dice 0.91, grey matter", "trained on synthetic scans of six templates"),
    PublishedResult("GA-MS-UNet++", "Dice 0.93", "trained and tested on these twelve scans"),
)


@dataclass(frozen=True, eq=False)
class Verified:
    """A case that was evaluated, and differences from the documented properties of its scan."""

    case: ManualScan
    outputs: Outputs
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Subject, as in tables."""
        return f"sub-{self.case.subject}"

    def in_their_numbers(self, protocol: tuple[Shares, ...]) -> tuple[NDArray[np.integer], Image, NDArray[np.bool_]]:
        """Return our labels in the numbers of the manual labels, these, and the evaluated region, on the scan's grid.

        Our labels are 0 outside of the evaluated region.
        """
        classes, manual = read_pair(self.outputs, self.case)
        labels, scored = apply_protocol(classes, protocol, NUMBER_OF)
        return np.where(scored, labels, 0), manual, scored


def check_unseen(model: Model, subjects: tuple[str, ...]) -> None:
    """Raise if a model was trained on one of the test subjects.

    Raises
    ------
    UsageError
        ``"seen"``.
    """
    if model.card.labels != "structures":
        what = f"model {model.card.name} gives tissue classes without sides; the manual labels have sides"
        raise UsageError("labels", None, what, "Name a model of structures")
    if seen := trained_on(model.card, subjects):
        listed = ", ".join(f"sub-{subject}" for subject in seen)
        what = f"the card of model {model.card.name} lists {listed} in its training data"
        raise UsageError("seen", None, what, "Test a model that has not seen them")


def protocol_lines(protocol: Sequence[Shares]) -> list[str]:
    """Describe the treatment of our structures by the manual labels, one line each."""
    words = {"grey": "grey matter", "white": "white matter", "nothing": "nothing", "mixed": "mixed, and is excluded"}
    return [
        f"{row.structure}: {row.grey:.0%} grey, {row.white:.0%} white, {row.nothing:.0%} nothing: "
        f"counts as {words[row.treatment]}"
        for row in protocol
        if row.voxels and row.structure != "Background"
    ]


def summarise(rows: Sequence[ScoreRow]) -> dict[tuple[str, str], Interval]:
    """Return mean Dice and bootstrap interval of each region and side."""
    keys = dict.fromkeys((row.region, row.side) for row in rows)
    rng = np.random.default_rng(0)
    return {
        key: bootstrap_mean(np.array([row.dice for row in rows if (row.region, row.side) == key]), rng=rng)
        for key in keys
    }


def read_pair(outputs: Outputs, case: ManualScan) -> tuple[NDArray[np.integer], Image]:
    """Return our classes and the manual labels, on the scan's grid."""
    ours = read_labels(outputs.labels)
    manual = read_labels(case.labels)
    unknown = set(np.unique(manual.data).tolist()) - {0, *LABELS}
    if unknown:
        what = f"labels {sorted(unknown)[:6]} are none of UltraCortex's (2, 3, 41, 42)"
        raise InputError("labels", case.labels, what, "Is this the manual segmentation?")
    data, _ = on_grid_of(ours, manual)
    table = np.zeros(max(CLASS_OF_INDEX) + 1, np.uint8)
    for index, place in CLASS_OF_INDEX.items():
        table[index] = place
    return table[ours.data], replace(ours, data=data.astype(np.uint8))


def differences(case: ManualScan, image: Image) -> tuple[str, ...]:
    """Return differences from the documented properties of this scan."""
    if case.published is None:
        return (f"sub-{case.subject} is none of the twelve published scans",)
    notes = []
    if tuple(sorted(image.shape)) != case.published.shape:
        notes.append(f"its grid is {image.shape}, published is {case.published.shape}")
    if abs(float(image.spacing_mm.mean()) - case.published.voxel_mm) > 0.05:
        notes.append(f"its voxels are {image.spacing_mm.mean():.2f} mm, published is {case.published.voxel_mm} mm")
    return tuple(notes)


def score_scan(each: Verified, protocol: tuple[Shares, ...], *, surfaces: bool) -> list[ScoreRow]:
    """Return the rows of one scan: grey and white matter, whose treatment by the manual labels is `protocol`."""
    ours, manual, scored = each.in_their_numbers(protocol)
    pred = replace(manual, data=ours.astype(np.int16))
    ref = replace(manual, data=np.where(scored, manual.data, 0).astype(np.int16))
    found = score_pair(pred, ref, case=each.name, pred_table=TABLE, ref_table=TABLE, surfaces=surfaces)
    # grey matter may include more than cortex
    names = {"Cerebral-Cortex": "Grey-Matter", "Cerebral-White-Matter": "White-Matter"}
    return [replace(row, region=names[row.region]) for row in found.rows if row.level in ("structure", "merged")]
