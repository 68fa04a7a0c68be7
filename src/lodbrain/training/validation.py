"""Dice of a level on fixed examples, distributed over the processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lodbrain.labels import N_CLASSES
from lodbrain.models.lod import LevelOutput, split_sides
from lodbrain.training.losses import N_TISSUES, TISSUE, merge
from lodbrain.training.pairs import TrainingPair
from lodbrain.training.workers import Workers

#: First seed of validation, far from those of training.
VALIDATION_SEED = 10**9
#: A class with fewer voxels in the reference is not evaluated.
LEAST_VOXELS = 10


@dataclass(frozen=True, eq=False)
class ValidationScores:
    """Dice by example and class; NaN where a class is absent.

    Attributes
    ----------
    structures : (N, 32) float64 tensor
    tissues : (N, 6) float64 tensor
    """

    structures: torch.Tensor
    tissues: torch.Tensor

    def summary(self) -> dict[str, float]:
        """Return means over structures, over tissues, and each tissue; a class is averaged over scans that have it."""
        by_tissue = self.tissues.nanmean(0)
        return {
            "structures": float(self.structures.nanmean(0).nanmean()),
            "tissues": float(by_tissue.nanmean()),
            **{f"tissue{i + 1}": float(v) for i, v in enumerate(by_tissue)},
        }


@torch.no_grad()
def score(
    draw: Callable[[int], TrainingPair],
    level: nn.Module,
    n: int,
    *,
    bfloat16: bool,
    workers: Workers | None = None,
    first_seed: int = VALIDATION_SEED,
    show: Callable[[TrainingPair, torch.Tensor], None] | None = None,
) -> ValidationScores:
    """Return the hard Dice of a level on the examples of n seeds.

    Parameters
    ----------
    draw : callable(int)
        Function that returns pairs without corruption.
    level : torch.nn.Module
        In eval mode.
    workers : Workers, optional
        The examples are distributed over them; each gets all scores.
    show : callable(pair, classes), optional
        Called with the first example and its predicted classes (1, X, Y, Z).
    """
    structures, tissues = torch.zeros((n, N_CLASSES - 1)), torch.zeros((n, N_TISSUES - 1))
    for i in range(n):
        if workers is not None and i % workers.count != workers.rank:
            continue
        pair = draw(first_seed + i)
        predicted = classes_of(pair, level, bfloat16=bfloat16)
        if i == 0 and show is not None:
            show(pair, predicted)
        p, t = _one_hot(predicted), _one_hot(pair.target.argmax(1))
        structures[i] = dice(p, t)
        tissues[i] = dice(merge(p, TISSUE, N_TISSUES), merge(t, TISSUE, N_TISSUES))
    if workers is not None and workers.count > 1:
        structures, tissues = (workers.total(t.to(workers.device)).cpu() for t in (structures, tissues))
    return ValidationScores(structures.double(), tissues.double())


def classes_of(pair: TrainingPair, level: nn.Module, *, bfloat16: bool) -> torch.Tensor:
    """(B, X, Y, Z) int64: likeliest of the 33 classes."""
    with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=bfloat16):
        output: LevelOutput = level(pair.image, pair.log_voxel, pair.coarse)
    logits = output.logits.float()
    if output.side is not None:
        logits = split_sides(logits.log_softmax(1), output.side.float())
    return logits.argmax(1)


def dice(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(C - 1,): Dice of each foreground class of one-hot (1, C, X, Y, Z); NaN where `t` has fewer than 10 voxels."""
    overlap, size = (p * t).sum((0, 2, 3, 4))[1:], (p + t).sum((0, 2, 3, 4))[1:]
    return torch.where(t.sum((0, 2, 3, 4))[1:] >= LEAST_VOXELS, 2 * overlap / size.clamp(min=1), torch.nan)


def _one_hot(classes: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(classes, N_CLASSES).movedim(-1, 1).float()
