"""Quality measures and QC warnings of a segmentation: certainty, volumes, asymmetry, and brain cut off at the edges.

Ranges of volumes and the default model's fit of the score are in ``resources/quality.json``, with their sources.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lodbrain.inference.counts import occupied, voxels_of_class
from lodbrain.labels import TABLES, TISSUE_OF_CLASS
from lodbrain.segmentation.predicted_dice import DiceFit, read_fit

if TYPE_CHECKING:
    from lodbrain.models.card import Card

REFERENCE = Path(__file__).resolve().parents[1] / "resources" / "quality.json"

#: Largest misfit: that of a volume of a tenth of its lower limit, or ten times its upper limit. A missing structure has
#: this misfit.
_MOST_MISFIT = math.log(10)
#: Disagreement of the members of a consensus, as a share of the brain, above which a QC warning is given.
MOST_DISAGREEMENT = 0.3
#: Mean misfit above which the orientation is checked: with wrong axes it is 0.2 to 0.3, in T1w heads without defects 0.
_SUSPICIOUS_MISFIT = 0.1
#: Mean misfit above which the volumes are not those of a brain: two phantoms, a ball and a neck have 0.64 to 1.95;
#: other contrasts and wrong axes are below.
_NO_BRAIN_MISFIT = 0.5
#: Area at the edges, divided by the brain's volume to the power of 2/3: a brain of which half, or all but a slab, lies
#: outside the scan has 0.96 or more, a neck 0.18, a ball cut through the middle 1.9.
_CUT_SHARE = 0.5
#: Area of brain on one edge of the scan above which a QC warning is given.
LEAST_CUT_MM2 = 400.0
_EDGES = (("left", "right"), ("back", "front"), ("lower", "upper"))
#: Binary entropy in bits of each certainty 0..255, read as a probability.
_P = np.clip(np.arange(256) / 255, 1e-6, 1 - 1e-6)
_ENTROPY = -(_P * np.log2(_P) + (1 - _P) * np.log2(1 - _P))


@dataclass(frozen=True)
class Quality:
    """Quality of a result.

    Attributes
    ----------
    score : float or None
        Predicted mean tissue Dice, 0 to 1; None if a feature is missing.
    measures : dict of str to float
        Quality measures, including the available features of the score.
    reasons : tuple of str
        QC warnings.
    """

    score: float | None
    measures: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def is_suspicious(self) -> bool:
        """Whether the volumes are so far outside their ranges that the scan's orientation must be checked."""
        return self.measures["volume_misfit"] > _SUSPICIOUS_MISFIT

    @property
    def is_no_brain(self) -> bool:
        """Whether the volumes are not those of a brain, and this is not explained by a brain cut off at the edges."""
        cut = self.measures["cut_mm2"] / (1000 * self.measures["brain_ml"]) ** (2 / 3)
        return self.measures["volume_misfit"] > _NO_BRAIN_MISFIT and cut < _CUT_SHARE


def has_fit(card: Card) -> bool:
    """Return whether the score and its limits were fitted to the results of this model."""
    return bool(card.quality) or load_reference().get("score", {}).get("model") == card.name


def assess(
    classes: NDArray[np.uint8],
    certainty: NDArray[np.uint8] | None,
    *,
    model_labels: Literal["structures", "tissue"],
    spacing_mm: tuple[float, float, float],
    known: Mapping[str, float],
    fit: DiceFit | None = None,
) -> Quality:
    """Return the quality of a result.

    Parameters
    ----------
    classes : (X, Y, Z) uint8
        In RAS order.
    certainty : (X, Y, Z) uint8 or None
        Posterior of the most probable structure, times 255.
    known : mapping of str to float
        Measures of the inference (such as ``moved_share``, the share of the brain relabelled as small components).
    fit : DiceFit, optional
        Fit of the model; default, and if a measure of it is missing: the package's.
    """
    reference = load_reference()
    tissue = TISSUE_OF_CLASS if model_labels == "structures" else np.arange(len(TABLES["tissue"]))
    voxels = voxels_of_class(classes, len(TABLES[model_labels])).astype(np.float64)
    volumes = voxels * (math.prod(spacing_mm) / 1000)
    measures = {"brain_ml": round(float(sum(ml for c, ml in enumerate(volumes) if tissue[c])), 1), **known}
    if certainty is not None:
        measures |= _certainty(classes, certainty, tissue)
    shape, reasons = _shape(volumes, model_labels, reference)
    measures |= shape
    cut = _cut_mm2(classes, tissue, spacing_mm)
    measures["cut_mm2"] = round(sum(cut.values()), 1)
    reasons += [
        f"the brain reaches the {edge} edge of the scan over {area / 100:.0f} cm2: it may be cut off"
        for edge, area in cut.items()
        if area > LEAST_CUT_MM2
    ]
    if known.get("disagreement", 0.0) > MOST_DISAGREEMENT:
        reasons.append(f"the model's members see different tissues in {known['disagreement']:.0%} of the brain")
    if fit is None or not set(fit.weights) <= set(measures):  # the fit of a consensus, without its second member
        fit = read_fit(reference.get("score", {}))
    if fit is None:
        return Quality(None, measures, tuple(reasons))
    return Quality(fit.score(measures), measures, (*reasons, *fit.reasons(measures)))


@cache
def load_reference() -> dict[str, Any]:
    """Return the ranges of volumes (ml), limits of asymmetry, and the fit of the score."""
    content: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return content


def _certainty(
    classes: NDArray[np.uint8], certainty: NDArray[np.uint8], tissue: NDArray[np.integer]
) -> dict[str, float]:
    """Return mean certainty of the brain and of its least certain tissue, and mean entropy at borders of structures."""
    count = len(tissue)
    histogram = np.zeros((count, 256))
    at_borders = np.zeros(256)
    where = occupied(classes, margin=1)  # the margin holds neighbours of border voxels
    classes, certainty = classes[where], certainty[where]
    for x, part in enumerate(classes):
        if not part.any():
            continue
        both = part.astype(np.intp) * 256 + certainty[x]
        histogram += np.bincount(both.ravel(), minlength=count * 256).reshape(count, 256)
        border = _borders(classes, x) & (tissue[part] > 0)
        at_borders += np.bincount(certainty[x][border], minlength=256)
    values = np.arange(256) / 255
    means = []
    for number in range(1, int(tissue.max()) + 1):
        voxels = histogram[tissue == number].sum(0)
        means.append(float(voxels @ values / voxels.sum()) if voxels.any() else 0.0)
    brain = histogram[tissue > 0].sum(0)
    return {
        "confidence": round(float(brain @ values / max(1.0, brain.sum())), 4),
        "least_confidence": round(min(means), 4),
        "border_entropy": round(float(at_borders @ _ENTROPY / max(1.0, at_borders.sum())), 4),
    }


def _borders(classes: NDArray[np.uint8], x: int) -> NDArray[np.bool_]:
    """Return the mask (Y, Z) of a slice's voxels that have a face neighbour of another class."""
    part = classes[x]
    border = np.zeros(part.shape, bool)
    for axis in (0, 1):
        before, after = ((slice(None),) * axis + (cut,) for cut in (slice(None, -1), slice(1, None)))
        differs = part[before] != part[after]
        border[before] |= differs
        border[after] |= differs
    for neighbour in (x - 1, x + 1):
        if 0 <= neighbour < len(classes):
            border |= classes[neighbour] != part
    return border


def _shape(
    volumes: NDArray[np.float64], model_labels: Literal["structures", "tissue"], reference: Mapping[str, Any]
) -> tuple[dict[str, float], list[str]]:
    """Return the misfit of volumes to their ranges and the asymmetry of sides, and QC warnings for them."""
    table = TABLES[model_labels]
    misfits, sides, reasons = [], [], []
    for label, ml in zip(table, volumes.tolist(), strict=True):
        name = label.name.removeprefix("Left-").removeprefix("Right-")
        if name not in reference["ranges_ml"][model_labels]:
            continue
        low, high = reference["ranges_ml"][model_labels][name]
        misfit = min(_MOST_MISFIT, max(0.0, math.log(low / ml), math.log(ml / high)) if ml > 0 else _MOST_MISFIT)
        misfits.append(misfit)
        if misfit > 0:
            reasons.append(f"{label.name}: {ml:.3g} ml, outside of {low:.3g} to {high:.3g} ml")
        if label.side == "left":
            other = float(volumes[next(c for c, row in enumerate(table) if row.index == label.mirror)])
            difference = abs(ml - other) / max((ml + other) / 2, 1e-9)
            sides.append(difference)
            if difference > reference["asymmetry"][name]:
                reasons.append(
                    f"{name}: sides differ by {difference:.0%}, more than {reference['asymmetry'][name]:.0%}"
                )
    measures = {"volume_misfit": round(float(np.mean(misfits)), 4)}
    if sides:
        measures["asymmetry"] = round(float(np.mean(sides)), 4)
    return measures, reasons


def _cut_mm2(
    classes: NDArray[np.uint8], tissue: NDArray[np.integer], spacing_mm: tuple[float, float, float]
) -> dict[str, float]:
    """Return the area of brain on each edge of the scan that it reaches, in mm^2."""
    found = {}
    for axis, names in enumerate(_EDGES):
        area = math.prod(spacing_mm) / spacing_mm[axis]
        for name, at in zip(names, (0, -1), strict=True):
            voxels = int((tissue[np.moveaxis(classes, axis, 0)[at]] > 0).sum())
            if voxels:
                found[name] = voxels * area
    return found
