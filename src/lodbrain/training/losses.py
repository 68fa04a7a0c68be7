"""Losses against soft targets (shares of classes in a voxel), computed without synchronisation of the device."""

from __future__ import annotations

import torch

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.training.config_fields import Losses
from lodbrain.training.sums import class_sums

N_TISSUES = 7
#: (33,) int64: tissue class of each class.
TISSUE = torch.as_tensor(TISSUE_OF_CLASS)
_SIDELESS = torch.as_tensor(SIDELESS_OF_CLASS)
_TISSUE_OF_SIDELESS = torch.zeros(len(SIDELESS), dtype=torch.long).scatter_(0, _SIDELESS, TISSUE)

#: A class with fewer voxels in the target does not count for the Dice loss.
LEAST_VOXELS = 20.0


def merge(shares: torch.Tensor, into: torch.Tensor, n: int) -> torch.Tensor:
    """Return the shares (B, n, ...) of n classes, from those (B, C, ...) of the classes that are merged into them.

    Parameters
    ----------
    into : (C,) int64 tensor
        Position of each class in the result.
    """
    out = shares.new_zeros((shares.shape[0], n, *shares.shape[2:]))
    return out.index_add(1, into.to(shares.device), shares)


def dice_loss(overlap: torch.Tensor, size: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
    """Return 1 - mean soft Dice over the foreground classes with at least `LEAST_VOXELS` in the target.

    Parameters
    ----------
    overlap, size, volume : (B, C) tensors
        Sums over the voxels of p t, of p^2 + t^2, and of t, for posteriors p and target shares t.

    Returns
    -------
    () tensor
        Mean over the batch; a volume without such a class counts as 0.
    """
    present = (volume[:, 1:] >= LEAST_VOXELS).to(overlap.dtype)
    dice = 2 * overlap[:, 1:] / size[:, 1:].clamp(min=1e-6)
    count = present.sum(1)
    return ((count - (dice * present).sum(1)) / count.clamp(min=1)).mean()


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, *, weights: Losses | None = None) -> torch.Tensor:
    """Return the weighted sum of the losses, averaged over the batch.

    Parameters
    ----------
    logits : (B, C, X, Y, Z) tensor
        C is 33, or 19 without sides.
    target : (B, D, X, Y, Z) float32 tensor
        D is C, or 33 where the logits have 19 classes: shares of left and right then count together.
    weights : Losses, optional
        By default soft cross-entropy + soft Dice of the structures + half the soft Dice of the six tissues.
    """
    weights = weights or Losses()
    classes = logits.shape[1]
    into = torch.arange(classes) if target.shape[1] == classes else _SIDELESS
    tissue = TISSUE if classes == len(TISSUE) else _TISSUE_OF_SIDELESS
    sums = class_sums(logits, target, into=into, group=tissue[:classes], groups=N_TISSUES)
    structures, tissues = (
        [each[:, part] for each in (sums.overlap, sums.size, sums.volume)]
        for part in (slice(classes), slice(classes, None))
    )
    loss = weights.cross_entropy * sums.log_loss.sum() / logits[:, 0].numel()
    return loss + weights.dice * dice_loss(*structures) + weights.tissue_dice * dice_loss(*tissues)
