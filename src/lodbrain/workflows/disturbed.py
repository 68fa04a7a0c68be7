"""Degradation, segmentation and evaluation of one scan in the stress test."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.evaluation.grids import on_grid_of
from lodbrain.evaluation.overlap import contingency, counts_of
from lodbrain.evaluation.regions import N_ATOMS, regions_of
from lodbrain.evaluation.robustness import MEAN, Step
from lodbrain.evaluation.tables import LabelTable, detect_table, table_named
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image, read_labels
from lodbrain.inference.predict import Options, predict
from lodbrain.segmentation.predicted_dice import read_fit
from lodbrain.segmentation.quality import assess
from lodbrain.segmentation.settings import Model
from lodbrain.segmentation.volumes import index_of_class
from lodbrain.synthesis.degradations import DEGRADATIONS, Pair
from lodbrain.system.memory import free_bytes


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
    ) -> list[Step]:
        """Segment one step and compute the metrics of every region.

        Parameters
        ----------
        stem, name : str
            Names of the scan and the method in the rows.
        model : Model
        context : bool
            Whether finer levels are conditioned on coarser ones.
        degradation, strength, seed
            Degradation of the scan; ``""`` and 0 for none.
        """
        table = table_named(model.card.labels)
        reference, known = self.atoms, self.known
        if reference is None:
            if name not in self.own:
                self.own[name] = self._segment(self.image, model, context)[0]
            reference, known = self.own[name], table.known
        pair = Pair(torch.from_numpy(self.image), torch.from_numpy(reference), self.spacing_mm)
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
        rows = [Step(stem, name, degradation, strength, r.name, r.level, value, score) for r, value in dice.items()]
        tissues = [row.dice for row in rows if row.level == "tissue" and not np.isnan(row.dice)]
        mean = _rounded(fmean(tissues)) if tissues else float("nan")
        return [Step(stem, name, degradation, strength, MEAN, "mean", mean, score), *rows]

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
