"""Losses against soft targets: shares of classes in a voxel, not one label."""

from __future__ import annotations

import torch

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS

N_TISSUES = 7
_TISSUE = torch.as_tensor(TISSUE_OF_CLASS)
_SIDELESS = torch.as_tensor(SIDELESS_OF_CLASS)
_TISSUE_OF_SIDELESS = torch.zeros(len(SIDELESS), dtype=torch.long).scatter_(0, _SIDELESS, _TISSUE)


def merge(shares: torch.Tensor, into: torch.Tensor, n: int) -> torch.Tensor:
    """Add up classes.

    Parameters
    ----------
    shares : (B, C, ...) tensor
    into : (C,) int64 tensor
        Position of each class in the result.
    n : int
        Number of classes of the result.

    Returns
    -------
    (B, n, ...) tensor
    """
    out = shares.new_zeros((shares.shape[0], n, *shares.shape[2:]))
    return out.index_add(1, into.to(shares.device), shares)


def merge_target_sides(target: torch.Tensor) -> torch.Tensor:
    """Shares of 19 classes without sides (B, 19, ...) from those of 33 (B, 33, ...)."""
    return merge(target, _SIDELESS, len(SIDELESS))


def soft_dice_loss(p: torch.Tensor, t: torch.Tensor, *, least_share: float = 20.0) -> torch.Tensor:
    """1 - mean soft Dice over the classes but background that have at least `least_share` voxels in the target.

    Parameters
    ----------
    p, t : (B, C, ...) tensors
        Posteriors and target shares.
    """
    dims = tuple(range(2, p.dim()))
    overlap, size = (p * t).sum(dims)[:, 1:], (p.square() + t.square()).sum(dims)[:, 1:]
    present = t.sum(dims)[:, 1:] >= least_share
    dice = 2 * overlap / size.clamp(min=1e-6)
    return 1 - dice[present].mean() if bool(present.any()) else p.sum() * 0


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, *, tissue_weight: float = 0.5) -> torch.Tensor:
    """Soft cross-entropy + soft Dice of the structures + `tissue_weight` x soft Dice of the six tissues.

    Parameters
    ----------
    logits, target : (B, C, X, Y, Z) tensors
        C is 33, or 19 without sides.
    """
    log_p = logits.float().log_softmax(1)
    cross_entropy = -(target * log_p).sum(1).mean()
    p = log_p.exp()
    table = _TISSUE if target.shape[1] == len(_TISSUE) else _TISSUE_OF_SIDELESS
    tissues = soft_dice_loss(merge(p, table, N_TISSUES), merge(target, table, N_TISSUES))
    return cross_entropy + soft_dice_loss(p, target) + tissue_weight * tissues
