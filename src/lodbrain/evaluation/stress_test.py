"""Degradation, segmentation and evaluation of one scan in the stress test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.grids import on_grid_of
from lodbrain.evaluation.overlap import contingency, counts_of
from lodbrain.evaluation.quality_fit import FAILED_DICE
from lodbrain.evaluation.regions import N_ATOMS, regions_of
from lodbrain.evaluation.robustness import MEAN, StressStep
from lodbrain.evaluation.tables import LabelTable, detect_table, table_named
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image, read_labels
from lodbrain.inference.predict import Options, predict
from lodbrain.segmentation.predicted_dice import read_fit
from lodbrain.segmentation.quality import assess
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.segmentation.volume_table import index_of_class
from lodbrain.synthesis.degradations import DEGRADATIONS, LabelledScan
from lodbrain.system.memory import free_bytes
from lodbrain.version import __version__


@dataclass(eq=False)
class Subject:
    """A scan with its labels in RAS order, and each method's result on the undegraded scan."""

    image: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    atoms: NDArray[np.uint8] | None
    known: frozenset[int]
    own: dict[str, NDArray[np.uint8]]

    @classmethod
    def read(cls, path: Path, labels: str | PathLike[str] | None, table: LabelTable | None) -> Subject:
        """Read a scan and its labels, if given, in RAS order.

        The intensity offset is removed, because the degradations expect black to be 0.
        """
        scan, turned = to_ras(read_image(path))
        atoms, known = None, frozenset[int]()
        if labels is not None:
            given = read_labels(labels)
            table = table or detect_table(Path(labels), given.data)
            data, _ = on_grid_of(read_image(path), given)
            atoms, known = np.ascontiguousarray(turned.apply(table.apply(data)[0])), table.known
        x, y, z = scan.spacing_mm.tolist()
        return cls(from_black(np.ascontiguousarray(scan.data)), (x, y, z), atoms, known, {})

    def step(
        self, stem: str, name: str, model: Model, context: bool, degradation: str, strength: float, *, seed: int
    ) -> list[StressStep]:
        """Segment one step and compute the metrics of every region; a `degradation` of ``""`` is none.

        `stem` and `name` are the scan and the method in the rows; with `context` finer levels are conditioned on
        coarser ones.
        """
        table = table_named(model.card.labels)
        reference, known = self.atoms, self.known
        if reference is None:
            if name not in self.own:
                self.own[name] = self._segment(self.image, model, context)[0]
            reference, known = self.own[name], table.known
        pair = LabelledScan(torch.from_numpy(self.image), torch.from_numpy(reference), self.spacing_mm)
        if degradation:
            pair = DEGRADATIONS[degradation].apply(pair, strength, seed=seed)
        if not degradation and reference is self.own.get(name):
            pred, score = reference, float("nan")
        else:
            pred, score = self._segment(pair.image.numpy(), model, context)
        counts = contingency(pred, pair.labels.numpy(), N_ATOMS)
        dice = {
            region: _rounded(counts_of(counts, sorted(region.atoms)).dice)
            for region in regions_of(table.known, known)
            if region.level != "structure"
        }
        rows = [
            StressStep(stem, name, degradation, strength, r.name, r.level, value, score) for r, value in dice.items()
        ]
        tissues = [row.dice for row in rows if row.level == "tissue" and not np.isnan(row.dice)]
        mean = _rounded(fmean(tissues)) if tissues else float("nan")
        return [StressStep(stem, name, degradation, strength, MEAN, "mean", mean, score), *rows]

    def _segment(self, image: NDArray[np.float32], model: Model, context: bool) -> tuple[NDArray[np.uint8], float]:
        """Return the atoms of a result, and its quality score; only background if no brain is found."""
        options = Options(device=model.device, memory_bytes=free_bytes(model.device), context=context)
        try:
            found = predict(image, self.spacing_mm, card=model.card, network=model.network, options=options)
        except InputError as error:
            if error.code != "no-brain":
                raise
            return np.zeros(image.shape, np.uint8), 0.0
        quality = assess(
            found.classes,
            found.certainty,
            model_labels=model.card.labels,
            spacing_mm=self.spacing_mm,
            known=found.quality,
            fit=read_fit(model.card.quality),
        )
        numbers = index_of_class(model.card.labels, model.card.labels)
        atoms, _ = table_named(model.card.labels).apply(numbers[found.classes])
        return atoms, float("nan") if quality.score is None else quality.score


def _rounded(dice: float) -> float:
    """Round as in the written table."""
    return round(dice, 6)


#: Method that consists of the model's finest level alone.
FINEST = "finest level alone"
TSV, JSON = "stress.tsv", "stress.json"


@dataclass(frozen=True)
class StressSettings:
    """Settings of a stress test.

    Attributes
    ----------
    steps : int
        Number of strengths of each degradation, always including the mildest and the strongest.
    against : tuple of str
        Other methods: names of models, or `FINEST`.
    threshold : float
        Dice below which a method has failed.
    """

    degradations: tuple[str, ...] = tuple(DEGRADATIONS)
    steps: int = 4
    against: tuple[str, ...] = ()
    threshold: float = FAILED_DICE
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.degradations:
            if name not in DEGRADATIONS:
                raise ValueError(f"degradations must be among {', '.join(DEGRADATIONS)}; got {name!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def strengths(self, name: str) -> tuple[float, ...]:
        """Return the strengths of one degradation."""
        steps = DEGRADATIONS[name].steps
        count = min(self.steps, len(steps))
        places = [len(steps) - 1] if count == 1 else np.linspace(0, len(steps) - 1, count).round().astype(int).tolist()
        return tuple(steps[place] for place in places)


def load_methods(model: Settings, against: Sequence[str]) -> dict[str, tuple[Model, bool]]:
    """Return methods by name: a loaded model, and whether its finer levels are conditioned on coarser ones."""
    first = load_model(model)
    methods = {first.card.name: (first, True)}
    for name in against:
        if name == FINEST:
            if first.card.architecture != "lod":
                raise UsageError("against", None, f"model {first.card.name} has no levels", "Leave it out")
            methods[FINEST] = (first, False)
        else:
            other = load_model(Settings(labels="brain", model=name, device=model.device))
            methods[other.card.name] = (other, True)
    return methods


def settings_of(reference: str, settings: StressSettings, methods: dict[str, tuple[Model, bool]]) -> dict[str, Any]:
    """Return the settings that determine the results: the head of ``stress.json``."""
    return {
        "software": "lodbrain",
        "version": __version__,
        "reference": reference,
        "seed": settings.seed,
        "methods": {
            name: {"model": model.card.name, "sha256": model.sha256, "context": context}
            for name, (model, context) in methods.items()
        },
        "threshold": settings.threshold,
        "degradations": {
            name: {"unit": DEGRADATIONS[name].unit, "strengths": settings.strengths(name)}
            for name in settings.degradations
        },
    }


def check_same(folder: Path, made: dict[str, Any]) -> None:
    """Raise if existing results were made with other settings."""
    if not (folder / TSV).exists():
        return
    try:
        before = json.loads((folder / JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    methods = dict(before.get("methods", {}))
    same = all(before.get(key) == made[key] for key in ("reference", "seed"))
    if not same or any(methods.get(name, how) != how for name, how in made["methods"].items()):
        what = "this folder contains results with another reference, seed or weights"
        raise UsageError("other-results", folder, what, "Choose another -o, or delete them")
