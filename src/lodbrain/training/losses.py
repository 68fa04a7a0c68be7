"""Losses against soft targets (shares of classes in a voxel), computed without synchronisation of the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F

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

#: Limit of distances to a boundary in voxels: errors farther away are left to the Dice loss.
BOUNDARY_REACH = 4


def merge(shares: torch.Tensor, into: torch.Tensor, n: int) -> torch.Tensor:
    """Sum the shares of classes that are merged.

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
    """Return shares of 19 classes without sides (B, 19, ...) from those of 33 (B, 33, ...)."""
    return merge(target, _SIDELESS, len(SIDELESS))


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


def signed_distance(target: torch.Tensor, *, reach: int = BOUNDARY_REACH) -> torch.Tensor:
    """Return the signed chessboard distance to the boundary of each class, in voxels: negative inside.

    Computed by dilation and erosion of the classes voxel by voxel, on the target's device.

    Parameters
    ----------
    target : (B, C, X, Y, Z) tensor
        Shares; a voxel is inside of a class that has more than half of it.
    reach : int
        Limit of the distances.

    Returns
    -------
    (B, C, X, Y, Z) tensor
        From -reach + 0.5 to reach - 0.5; half a voxel from the boundary is 0.5.
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
    """Return the boundary loss, which penalises posterior mass far outside of a class and rewards it far inside.

    It is the mean over voxels of the sum over foreground classes of posterior x signed distance, minus the same sum of
    the target.

    Parameters
    ----------
    p, t : (B, C, X, Y, Z) tensors

    References
    ----------
    Kervadec et al. 2021, Boundary loss for highly unbalanced segmentation, doi:10.1016/j.media.2020.101851. Here
    distances are chessboard distances limited to `BOUNDARY_REACH`.
    """
    total = p.new_zeros(())
    for c in range(1, p.shape[1]):  # one class at a time: all distances would take the memory of the logits again
        with torch.no_grad():
            distance = signed_distance(t[:, c : c + 1])
        total = total + ((p[:, c : c + 1] - t[:, c : c + 1]) * distance).mean()
    return total


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
    loss = loss + weights.dice * dice_loss(*structures) + weights.tissue_dice * dice_loss(*tissues)
    if weights.boundary:
        goal = merge_target_sides(target) if target.shape[1] != classes else target
        loss = loss + weights.boundary * boundary_loss(logits.float().softmax(1), goal)
    return loss
