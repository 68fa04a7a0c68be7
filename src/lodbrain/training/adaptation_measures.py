"""Acceptance of a tuned model: Dice on synthetic scans, and consistency on the real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.evaluation.overlap import contingency
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import MIRROR_OF_CLASS, N_CLASSES, STRUCTURES
from lodbrain.models.lod import Ladder
from lodbrain.segmentation.settings import Model
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import fine_maps, load_maps
from lodbrain.training.pairs import PairSource
from lodbrain.training.samples import SyntheticSamples
from lodbrain.training.sources import geometry_of
from lodbrain.training.training_run import Report
from lodbrain.training.validation import LEAST_VOXELS, ValidationScores, score

#: Largest loss of Dice in the base validation that counts as no worse: less than its variation between seeds.
NO_WORSE = 0.002
#: Added bias: standard deviation of the log field, and distance of its control points in mm.
BIAS_SD, BIAS_MM = 0.2, 60.0
#: Number of bootstrap resamples of the paired differences, and confidence level of the interval.
RESAMPLINGS, CONFIDENCE = 2000, 0.9


@dataclass(frozen=True, eq=False)
class Measures:
    """Measurements of one model.

    Attributes
    ----------
    tailored, general : ValidationScores
        Dice on held-out synthetic scans, of the fitted contrast and of the base model's contrasts.
    flip, bias : (N,) float64
        For each scan, mean Dice of its labels with those of its mirror image, and with those under an added bias field.
    classes : tuple of (X, Y, Z) uint8
        Labels of the scans; None if no brain was found.
    """

    tailored: ValidationScores
    general: ValidationScores
    flip: NDArray[np.float64]
    bias: NDArray[np.float64]
    classes: tuple[NDArray[np.uint8] | None, ...]
    voxel_ml: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """Means, by name."""
        return {
            "tailored_structures": self.tailored.summary()["structures"],
            "tailored_tissues": self.tailored.summary()["tissues"],
            "general_structures": self.general.summary()["structures"],
            "general_tissues": self.general.summary()["tissues"],
            "flip_consistency": float(self.flip.mean()),
            "bias_consistency": float(self.bias.mean()),
        }


def paired_interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of paired differences (N,), NaN ignored, and its bootstrap interval with a fixed seed."""
    values = differences[np.isfinite(differences)]
    if not len(values):
        return math.nan, math.nan, math.nan
    draws = np.random.default_rng(0).choice(values, (RESAMPLINGS, len(values))).mean(1)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(values.mean()), float(low), float(high)


def decide(before: Measures, after: Measures) -> tuple[bool, tuple[str, ...]]:
    """Return whether a model is better, and the reasons, one line each."""
    lines, passed = [], []

    def judge(good: bool, text: str) -> None:
        passed.append(good)
        lines.append(f"{'yes' if good else 'no'}: {text}")

    mean, low, high = paired_interval(_by_scan(after.tailored) - _by_scan(before.tailored))
    judge(low > 0, f"better on synthetic scans of this contrast, {mean:+.4f} Dice ({low:+.4f} to {high:+.4f})")
    for name, one, two in (("mirrored", before.flip, after.flip), ("under added bias", before.bias, after.bias)):
        change = float((two - one).mean())
        judge(change > 0, f"more consistent when the scans are {name}, {change:+.4f} Dice")
    mean, low, high = paired_interval(_by_scan(after.general) - _by_scan(before.general))
    judge(mean > -NO_WORSE, f"no worse on the base validation, {mean:+.4f} Dice ({low:+.4f} to {high:+.4f})")
    return all(passed), tuple(lines)


def _by_scan(scores: ValidationScores) -> NDArray[np.float64]:
    """(N,): mean Dice over the structures of each synthetic scan."""
    return np.asarray(scores.structures.nanmean(1).numpy())


class Probe:
    """Measurement of models on the same synthetic and real scans.

    Parameters
    ----------
    last : int
        Position of the evaluated level.
    held_out : int
        Number of synthetic scans of each kind.
    """

    def __init__(
        self,
        config: TrainingConfig,
        profile: ContrastProfile,
        scans: Sequence[Path],
        last: int,
        *,
        held_out: int,
        frame: int | None,
        device: str,
    ) -> None:
        self.config, self.profile, self.scans, self.last = config, profile, scans, last
        self.held_out, self.frame, self.device = held_out, frame, device

    @cached_property
    def _maps(self) -> tuple[Mapping[str, LabelMap], Mapping[str, LabelMap]]:
        config = self.config.model_copy(update={"train": ()})
        maps = {name: labels.to(self.device) for name, labels in load_maps(config, lambda line: None).items()}
        return maps, fine_maps(config, maps, config.levels[self.last].labelmap_mm, lambda line: None)

    def measure(self, model: Model, report: Report) -> Measures:
        """Return all measurements of a model."""
        ladder = model.network
        assert isinstance(ladder, Ladder)
        ladder.to(self.device)
        maps, fine = self._maps
        results = []
        for share in (1.0, 0.0):
            generator = replace(self.config.generator, profile=self.profile, profile_share=share)
            samples = SyntheticSamples(tuple(maps), maps, fine, generator, geometry_of(self.config, ladder))
            source = PairSource(ladder, self.last, samples, None, bfloat16=self.config.autocasts)
            results.append(score(source.draw, ladder.level(self.last), self.held_out, bfloat16=self.config.autocasts))
            kind = "of this contrast" if share else "of all kinds"
            report(f"  synthetic scans {kind}: Dice {results[-1].summary()['structures']:.4f}")
        flips, biases, labels, voxels = [], [], [], []
        for path in self.scans:
            flip, bias, classes, voxel_ml = self._consistency(path, model)
            report(f"  {path.name}: consistency {flip:.4f} mirrored, {bias:.4f} under added bias")
            flips.append(flip)
            biases.append(bias)
            labels.append(classes)
            voxels.append(voxel_ml)
        return Measures(results[0], results[1], np.array(flips), np.array(biases), tuple(labels), tuple(voxels))

    def _consistency(self, path: Path, model: Model) -> tuple[float, float, NDArray[np.uint8] | None, float]:
        ras, _ = to_ras(read_image(path, frame=self.frame))
        data, (a, b, c) = from_black(np.ascontiguousarray(ras.data, np.float32)), ras.spacing_mm.tolist()

        def labels_of(scan: NDArray[np.float32]) -> NDArray[np.uint8] | None:
            try:
                return predict(
                    scan, (a, b, c), card=model.card, network=model.network, options=Options(device=self.device)
                ).classes
            except InputError:  # no brain was found
                return None

        plain = labels_of(data)
        mirrored = labels_of(np.ascontiguousarray(data[::-1]))
        biased = labels_of(data * added_bias(data.shape, (a, b, c)))
        flip = agreement(plain, None if mirrored is None else MIRROR_OF_CLASS.astype(np.uint8)[mirrored[::-1]])
        return flip, agreement(plain, biased), plain, a * b * c / 1000

    def volumes(self, before: Measures, after: Measures) -> dict[str, dict[str, float]]:
        """Return for each structure its mean volume in ml before and after, and the mean Dice between both."""
        rows: dict[str, dict[str, float]] = {}
        pairs = [
            (one, two, ml)
            for one, two, ml in zip(before.classes, after.classes, before.voxel_ml, strict=True)
            if one is not None and two is not None
        ]
        for each, label in enumerate(STRUCTURES):
            if each and pairs:
                volumes = [(float((one == each).sum()) * ml, float((two == each).sum()) * ml) for one, two, ml in pairs]
                same = [class_dice(one, two)[each] for one, two, _ in pairs]
                known = [value for value in same if math.isfinite(value)]
                rows[label.name] = {
                    "before_ml": sum(one for one, _ in volumes) / len(pairs),
                    "after_ml": sum(two for _, two in volumes) / len(pairs),
                    "same": sum(known) / len(known) if known else math.nan,
                }
        return rows


def added_bias(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """(X, Y, Z): smooth field around 1, the same for every scan of this shape."""
    size = [n * v for n, v in zip(shape, spacing_mm, strict=True)]
    control = random_control(1, BIAS_MM, max(size), torch.Generator().manual_seed(1))
    grid = Grid((shape[0], shape[1], shape[2]), spacing_mm, (-size[0] / 2, -size[1] / 2, -size[2] / 2))
    field = SmoothField(control, BIAS_MM).on(grid)[0]
    out: NDArray[np.float32] = ((field - field.mean()) / field.std() * BIAS_SD).exp().numpy()
    return out


def agreement(one: NDArray[np.uint8] | None, two: NDArray[np.uint8] | None) -> float:
    """Return the mean Dice of the structures of two label maps of one scan; 0 if no brain was found in one of them."""
    if one is None or two is None:
        return 0.0
    found = class_dice(one, two)[1:]
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


def class_dice(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(33,): Dice of each class; NaN where both together have too few voxels."""
    table = contingency(one, two, N_CLASSES)
    total = table.sum(0) + table.sum(1)
    return np.where(total >= 2 * LEAST_VOXELS, 2 * np.diag(table) / np.maximum(total, 1), np.nan)
