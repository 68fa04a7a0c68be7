"""Fit and evaluation of the quality score on degraded synthetic scans with known Dice.

Scans are generated from label maps that no model was trained on. Every other scan of each map is used for the fit, the
rest for the evaluation. A scan is identified by its number, so that the work can be interrupted and continued.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.metric_files import write_json, write_tsv
from lodbrain.evaluation.overlap import contingency, counts_of
from lodbrain.evaluation.quality_fit import FAILED_DICE, Agreement, agreement, fit_logistic
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import N_CLASSES, TISSUE_OF_CLASS, TISSUES
from lodbrain.models import zoo
from lodbrain.report.quality_figure import quality_figure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.predicted_dice import FEATURES, SIGNS
from lodbrain.segmentation.quality import assess
from lodbrain.segmentation.settings import Model
from lodbrain.synthesis.contrast import Contrasts
from lodbrain.synthesis.degradations import DEGRADATIONS, SPREAD, Pair
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.workflows.validation_scans import Kind, draw_scan, validation_maps

#: Share of scans without degradation.
SOUND_SHARE = 0.2
#: The generator's contrasts, including a few fully random ones; or mostly scans with tissues in any order.
CONTRASTS: dict[Kind, Contrasts] = {
    "t1w": Contrasts(),
    "any": Contrasts(t1w_share=0.2, ordered_share=0.1, any_order_share=0.55),
}
#: Limit of a single feature: this share of the good results exceeds it.
BEYOND = 0.05
GOOD_DICE = 0.8
CASES = "cases.tsv"

#: Reasons stated when a feature exceeds its limit.
WORDS = {
    "confidence": "the network is unsure of the brain",
    "least_confidence": "the network is unsure of a tissue",
    "border_entropy": "borders of structures are blurred",
    "moved_share": "the brain came in many pieces",
}

_COLUMNS = (
    "case",
    "run",
    "role",
    "map",
    "voxel_mm",
    "degradation",
    "strength",
    "dice",
    *(t.name for t in TISSUES[1:]),
    *FEATURES,
)


@dataclass(frozen=True, eq=False)
class Validation:
    """Results of the fit and its evaluation.

    Attributes
    ----------
    fit : dict
        Content of the model card's entry ``quality``.
    judged, fitted : Agreement
        Agreement on scans not used for the fit, and on those used.
    scores, dice : (n,) float
        Values of the scans not used for the fit.
    refused : int
        Number of scans in which no brain was found; they have no score.
    """

    fit: dict[str, Any]
    judged: Agreement
    fitted: Agreement
    scores: NDArray[np.float64]
    dice: NDArray[np.float64]
    refused: int


def validate_quality(
    out: str | PathLike[str],
    n: int,
    model: Model,
    *,
    maps: Sequence[str | PathLike[str]] = (),
    contrasts: Kind = "t1w",
    voxel_mm: tuple[float, float] = (1.0, 1.4),
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> Validation:
    """Generate, degrade and segment scans, fit the score and evaluate it. Cases in the folder are not computed again.

    Parameters
    ----------
    out : path
        Folder for ``cases.tsv``, ``quality.json``, ``quality.png``, and the model with the fit in its card.
    n : int
        Number of scans.
    model : Model
        A model of structures.
    maps : sequence of path
        Label maps; by default the four published ones that are reserved for validation.
    contrasts : {"t1w", "any"}
        Contrasts of the scans: those that the model is made for.
    voxel_mm : tuple of 2 float
        Range of the voxel sides.
    seed : int
    progress : callable, optional

    Raises
    ------
    UsageError
        If the model is not of structures, there are fewer than 8 scans, or the folder holds scans of another run.
    InputError
        If a label map is missing or not valid, or too few scans were segmented.
    OutputError
        If the folder cannot be written to.
    """
    if model.card.labels != "structures":
        raise UsageError("labels", None, f"model {model.card.name} gives tissue classes", "Name one of structures")
    if n < 8:
        raise UsageError("draws", None, f"{n} draws are too few", "Take 8 or more; a few hundred are better")
    folder = Path(out)
    check_writable(folder)
    paths = validation_maps(maps)
    run = f"{model.card.name}@{model.sha256[:12]}, {contrasts}, {voxel_mm[0]:g} to {voxel_mm[1]:g} mm, seed {seed}"
    rows = {int(row["case"]): row for row in _read(folder / CASES)}
    if any(row["run"] != run for row in rows.values()):
        what = "it holds draws of another model, or with other options"
        raise UsageError("draws", folder / CASES, what, "Name another folder")
    loaded: dict[int, LabelMap] = {}
    for number in range(n):
        if number not in rows:
            which = number % len(paths)
            progress(number / n, f"draw {number + 1} of {n}")
            if which not in loaded:
                loaded[which] = load(paths[which])
            role = "fit" if number // len(paths) % 2 == 0 else "judge"
            row = _draw(loaded[which], model, CONTRASTS[contrasts], voxel_mm, (seed, number))
            rows[number] = {"case": number, "run": run, "role": role, **row}
            _write(folder / CASES, rows)
    found = conclude([rows[number] for number in range(n)], model.card.name)
    title = f"{model.card.name} on synthetic scans that nothing was fitted on"
    quality_figure(found.scores, found.dice, found.judged, folder / "quality.png", title=title)
    write_json(folder / "quality.json", {"score": found.fit, "judged": _words(found.judged), "refused": found.refused})
    card = replace(model.card, file=f"{model.card.name}.safetensors", quality=found.fit)
    zoo.save_with_card(folder / card.file, card, model.network.state_dict())
    return found


def conclude(rows: Sequence[dict[str, Any]], model: str) -> Validation:
    """Fit on one half of the rows of ``cases.tsv`` and evaluate on the other.

    Raises
    ------
    InputError
        If a half has fewer than three segmented scans.
    """
    done = [row for row in rows if row["confidence"] not in ("", "n/a", None)]
    halves = {role: [row for row in done if row["role"] == role] for role in ("fit", "judge")}
    if min(len(half) for half in halves.values()) < 3:
        raise InputError("too-few", CASES, "fewer than three scans were segmented in a half", "Take more draws")
    features = {role: _numbers(half, FEATURES) for role, half in halves.items()}
    dice = {role: _numbers(half, ("dice",))[:, 0] for role, half in halves.items()}
    fit = fit_logistic(features["fit"], dice["fit"], signs=tuple(SIGNS.values()))
    good = features["fit"][dice["fit"] >= GOOD_DICE]
    limits = {}
    for place, name in enumerate(FEATURES):
        if name in WORDS and len(good):
            share = BEYOND if SIGNS[name] > 0 else 1 - BEYOND
            limits[name] = [round(float(np.quantile(good[:, place], share)), 4), WORDS[name]]
    content = {
        "model": model,
        "fitted_on": f"{len(dice['fit'])} synthetic scans of label maps that were not trained on",
        "intercept": round(fit.intercept, 5),
        "weights": {name: round(float(weight), 5) for name, weight in zip(FEATURES, fit.weights, strict=True)},
        "link": "logit",
        "limits": limits,
    }
    scores = {role: fit.predict(features[role]) for role in halves}
    judged, fitted = (agreement(scores[role], dice[role]) for role in ("judge", "fit"))
    return Validation(content, judged, fitted, scores["judge"], dice["judge"], len(rows) - len(done))


def _draw(
    labels: LabelMap, model: Model, contrasts: Contrasts, voxel_mm: tuple[float, float], seed: tuple[int, int]
) -> dict[str, Any]:
    """Return the row of one scan: generated, degraded, segmented and compared with the truth."""
    random = torch.Generator().manual_seed((seed[0] * SPREAD + seed[1]) % 2**32)
    drawn = draw_scan(labels, random, voxel_mm=voxel_mm, contrasts=contrasts)
    pair = Pair(drawn.image, drawn.classes, drawn.spacing_mm)
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
        return {**row, "dice": 0.0, **dict.fromkeys((*(t.name for t in TISSUES[1:]), *FEATURES))}
    quality = assess(
        found.classes,
        found.certainty,
        model_labels="structures",
        spacing_mm=pair.spacing_mm,
        known=found.quality,
    )
    scores = tissue_dice(found.classes, pair.labels.numpy())
    mean = float(np.nanmean(list(scores.values())))
    return {**row, "dice": mean, **scores, **{name: quality.measures.get(name) for name in FEATURES}}


def tissue_dice(pred: NDArray[np.uint8], ref: NDArray[np.uint8]) -> dict[str, float]:
    """Return the Dice of each tissue, from two maps of structure classes; NaN where neither has it."""
    table = contingency(pred, ref, N_CLASSES)
    return {
        tissue.name: counts_of(table, np.flatnonzero(tissue.index == TISSUE_OF_CLASS).tolist()).dice
        for tissue in TISSUES[1:]
    }


def _numbers(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[float(row[column]) for column in columns] for row in rows])


def _words(found: Agreement) -> dict[str, float]:
    return {
        "n": found.n,
        f"dice below {FAILED_DICE}": found.failed,
        "pearson": found.pearson,
        "spearman": found.spearman,
        "mean absolute error": found.mean_error,
        "auc": found.auc,
    }


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [dict(row) for row in csv.DictReader(file, delimiter="\t") if set(_COLUMNS) <= set(row)]
    except FileNotFoundError:
        return []


def _write(path: Path, rows: dict[int, dict[str, Any]]) -> None:
    write_tsv(path, _COLUMNS, ([rows[number][column] for column in _COLUMNS] for number in sorted(rows)))
