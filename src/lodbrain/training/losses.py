"""Losses against soft targets: shares of classes in a voxel, not one label. Nothing here waits for the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.training.settings import Losses

N_TISSUES = 7
_TISSUE = torch.as_tensor(TISSUE_OF_CLASS)
_SIDELESS = torch.as_tensor(SIDELESS_OF_CLASS)
_TISSUE_OF_SIDELESS = torch.zeros(len(SIDELESS), dtype=torch.long).scatter_(0, _SIDELESS, _TISSUE)

#: Distances to a boundary beyond so many voxels count as this many: what is far off is Dice's to mend.
BOUNDARY_REACH = 4


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

    Returns
    -------
    () tensor
        Mean over the batch; a volume without any class to score counts as 0.
    """
    dims = tuple(range(2, p.dim()))
    overlap, size = (p * t).sum(dims)[:, 1:], (p * p + t * t).sum(dims)[:, 1:]
    present = (t.sum(dims)[:, 1:] >= least_share).to(p.dtype)
    dice = 2 * overlap / size.clamp(min=1e-6)
    count = present.sum(1)
    return ((count - (dice * present).sum(1)) / count.clamp(min=1)).mean()


def signed_distance(target: torch.Tensor, *, reach: int = BOUNDARY_REACH) -> torch.Tensor:
    """Signed chessboard distance to the boundary of each class, in voxels: negative inside.

    Counted by growing and shrinking the classes voxel by voxel, so that it runs where the target lies.

    Parameters
    ----------
    target : (B, C, X, Y, Z) tensor
        Shares; a voxel is inside of a class that has more than half of it.
    reach : int
        Larger distances are cut off.

    Returns
    -------
    (B, C, X, Y, Z) tensor
        From -reach + 0.5 to reach - 0.5; half a voxel off the boundary is 0.5.
    """
    inside = (target > 0.5).to(target.dtype)
    distance = 0.5 - inside
    grown, kept = inside, inside
    for _ in range(reach - 1):
        grown = F.max_pool3d(grown, 3, stride=1, padding=1)
        kept = -F.max_pool3d(-kept, 3, stride=1, padding=1)
        distance = distance + (1 - grown) - kept
    return distance


def boundary_loss(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Posterior mass far outside of a class costs, far inside pays.

    Mean over voxels of the sum over classes but background of posterior x signed distance, less that of the target.

    Parameters
    ----------
    p, t : (B, C, X, Y, Z) tensors

    References
    ----------
    Kervadec et al. 2021, Boundary loss for highly unbalanced segmentation, doi:10.1016/j.media.2020.101851. Here the
    distances are chessboard ones that end at `BOUNDARY_REACH`.
    """
    total = p.new_zeros(())
    for c in range(1, p.shape[1]):  # one class at a time: distances of all would take the memory of the logits again
        with torch.no_grad():
            distance = signed_distance(t[:, c : c + 1])
        total = total + ((p[:, c : c + 1] - t[:, c : c + 1]) * distance).mean()
    return total


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, *, weights: Losses | None = None) -> torch.Tensor:
    """The weighted sum of the losses, mean over the batch.

    Parameters
    ----------
    logits, target : (B, C, X, Y, Z) tensors
        C is 33, or 19 without sides.
    weights : Losses, optional
        By default soft cross-entropy + soft Dice of the structures + half the soft Dice of the six tissues.
    """
    weights = weights or Losses()
    log_p = logits.float().log_softmax(1)
    loss = log_p.new_zeros(())
    if weights.cross_entropy:
        loss = loss - weights.cross_entropy * (target * log_p).sum(1).mean()
    if not (weights.dice or weights.tissue_dice or weights.boundary):
        return loss
    p = log_p.exp()
    if weights.dice:
        loss = loss + weights.dice * soft_dice_loss(p, target)
    if weights.tissue_dice:
        table = _TISSUE if target.shape[1] == len(_TISSUE) else _TISSUE_OF_SIDELESS
        tissues = soft_dice_loss(merge(p, table, N_TISSUES), merge(target, table, N_TISSUES))
        loss = loss + weights.tissue_dice * tissues
    if weights.boundary:
        loss = loss + weights.boundary * boundary_loss(p, target)
    return loss
