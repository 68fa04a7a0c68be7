"""Fit and evaluation of the quality score on degraded synthetic scans with known Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.evaluation.overlap import contingency, counts_of
from lodbrain.evaluation.quality_fit import Agreement, agreement, fit_logistic
from lodbrain.evaluation.validation_scans import draw_scan
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import N_CLASSES, TISSUE_OF_CLASS, TISSUES
from lodbrain.segmentation.predicted_dice import SIGNS
from lodbrain.segmentation.quality import assess
from lodbrain.segmentation.settings import Model
from lodbrain.synthesis.degradations import DEGRADATIONS, SPREAD, LabelledScan
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import LabelMap

#: Share of scans without degradation.
SOUND_SHARE = 0.2

#: Limit of a single feature: this share of the good results exceeds it.
BEYOND = 0.05
GOOD_DICE = 0.8
CASES = "cases.tsv"

#: Reasons stated when a feature exceeds its limit.
WORDS = {
    "confidence": "low confidence over the brain",
    "least_confidence": "low confidence in a tissue",
    "border_entropy": "uncertain boundaries of structures",
    "moved_share": "many small components",
}


@dataclass(frozen=True, eq=False)
class Validation:
    """Results of the fit and its evaluation.

    Attributes
    ----------
    fit : dict
        Content of the model card's entry ``quality``.
    judged, fitted : Agreement
        Agreement on scans not used for the fit, whose values are `scores` and `dice`, and on those used.
    refused : int
        Number of scans in which no brain was found; they have no score.
    """

    fit: dict[str, Any]
    judged: Agreement
    fitted: Agreement
    scores: NDArray[np.float64]
    dice: NDArray[np.float64]
    refused: int


def conclude(rows: Sequence[dict[str, Any]], model: str) -> Validation:
    """Fit on one half of the rows of ``cases.tsv`` and evaluate on the other.

    Raises
    ------
    InputError
        If a half has fewer than three segmented scans.
    """
    segmented = [row for row in rows if _has(row, "confidence")]
    names = [name for name in SIGNS if any(_has(row, name) for row in segmented)]
    # Without its second member, a consensus is judged by the fit of the default model.
    done = [row for row in segmented if all(_has(row, name) for name in names)]
    halves = {role: [row for row in done if row["role"] == role] for role in ("fit", "judge")}
    if min(len(half) for half in halves.values()) < 3:
        raise InputError("too-few", CASES, "fewer than three scans were segmented in a half", "Take more draws")
    features = {role: _numbers(half, names) for role, half in halves.items()}
    dice = {role: _numbers(half, ("dice",))[:, 0] for role, half in halves.items()}
    fit = fit_logistic(features["fit"], dice["fit"], signs=[SIGNS[name] for name in names])
    good = features["fit"][dice["fit"] >= GOOD_DICE]
    limits = {}
    for place, name in enumerate(names):
        if name in WORDS and len(good):
            share = BEYOND if SIGNS[name] > 0 else 1 - BEYOND
            limits[name] = [round(float(np.quantile(good[:, place], share)), 4), WORDS[name]]
    content = {
        "model": model,
        "fitted_on": f"{len(dice['fit'])} synthetic scans of label maps that were not trained on",
        "intercept": round(fit.intercept, 5),
        "weights": {name: round(float(weight), 5) for name, weight in zip(names, fit.weights, strict=True)},
        "link": "logit",
        "limits": limits,
    }
    scores = {role: fit.predict(features[role]) for role in halves}
    judged, fitted = (agreement(scores[role], dice[role]) for role in ("judge", "fit"))
    return Validation(content, judged, fitted, scores["judge"], dice["judge"], len(rows) - len(segmented))


def draw_case(
    labels: LabelMap, model: Model, contrasts: Contrasts, voxel_mm: tuple[float, float], seed: tuple[int, int]
) -> dict[str, Any]:
    """Return the row of one scan: generated, degraded, segmented and compared with the truth."""
    random = torch.Generator().manual_seed((seed[0] * SPREAD + seed[1]) % 2**32)
    drawn = draw_scan(labels, random, voxel_mm=voxel_mm, contrasts=contrasts)
    pair = LabelledScan(drawn.image, drawn.classes, drawn.spacing_mm)
    kind = list(DEGRADATIONS.values())[int(torch.randint(len(DEGRADATIONS), (), generator=random))]
    sound = float(torch.rand((), generator=random)) < SOUND_SHARE
    strength = 0.0 if sound else kind.steps[-1] * float(torch.rand((), generator=random))
    pair = kind.apply(pair, strength, seed=seed[1])
    row: dict[str, Any] = {
        "map": Path(labels.name).name,
        "voxel_mm": round(float(np.prod(pair.spacing_mm)) ** (1 / 3), 3),
        "degradation": "none" if sound else kind.name,
        "strength": round(strength, 4),
    }
    try:
        found = predict(
            pair.image.numpy(),
            pair.spacing_mm,
            card=model.card,
            network=model.network,
            options=Options(device=model.device),
        )
    except InputError:  # no brain was found: the scan is rejected, which counts as a score
        return {**row, "dice": 0.0, **dict.fromkeys((*(t.name for t in TISSUES[1:]), *SIGNS))}
    quality = assess(
        found.classes,
        found.certainty,
        model_labels="structures",
        spacing_mm=pair.spacing_mm,
        known=found.quality,
    )
    scores = tissue_dice(found.classes, pair.labels.numpy())
    mean = float(np.nanmean(list(scores.values())))
    return {**row, "dice": mean, **scores, **{name: quality.measures.get(name) for name in SIGNS}}


def tissue_dice(pred: NDArray[np.uint8], ref: NDArray[np.uint8]) -> dict[str, float]:
    """Return the Dice of each tissue, from two maps of structure classes; NaN where neither has it."""
    table = contingency(pred, ref, N_CLASSES)
    return {
        tissue.name: counts_of(table, np.flatnonzero(tissue.index == TISSUE_OF_CLASS).tolist()).dice
        for tissue in TISSUES[1:]
    }


def _has(row: dict[str, Any], column: str) -> bool:
    return row[column] not in ("", "n/a", None)


def _numbers(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[float(row[column]) for column in columns] for row in rows])
