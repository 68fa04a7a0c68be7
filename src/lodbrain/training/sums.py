"""Sums over voxels of posteriors and target shares, with their gradient, from which cross-entropy and Dice follow.

As separate operations, the losses would read and write arrays of the size of the logits about twenty times. Here chunks
of voxels that fit the processor's cache are processed once forwards and once backwards.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

#: Voxels per chunk. On the CPU 33 classes of this many voxels take 0.5 MB.
_CHUNK_VOXELS = {"cpu": 1 << 12, "cuda": 1 << 20}


class Sums(NamedTuple):
    """Sums over the voxels of each volume of a batch, for C classes followed by G groups of classes.

    Attributes
    ----------
    log_loss : (B,) float32 tensor
        Sum of -t log p over voxels and classes, for posteriors p and target shares t.
    overlap, size, volume : (B, C + G) float32 tensors
        Sums of p t, of p^2 + t^2, and of t. Only the first two have a gradient.
    """

    log_loss: torch.Tensor
    overlap: torch.Tensor
    size: torch.Tensor
    volume: torch.Tensor


def class_sums(
    logits: torch.Tensor, target: torch.Tensor, *, into: torch.Tensor, group: torch.Tensor, groups: int
) -> Sums:
    """Return sums of the softmax of logits against target shares, differentiable in the logits.

    Parameters
    ----------
    logits : (B, C, X, Y, Z) tensor
        Any floating dtype and memory layout; the arithmetic is float32.
    target : (B, D, X, Y, Z) float32 tensor
    into : (D,) int64 tensor
        The class, 0 to C - 1, of each class of the target.
    group : (C,) int64 tensor
        The group, 0 to G - 1, of each class.
    """
    merging, grouping = (
        (table == torch.arange(n)[:, None]).to(target) for table, n in ((into, logits.shape[1]), (group, groups))
    )
    return Sums(*_ClassSums.apply(logits, target, merging, grouping))  # type: ignore[no-untyped-call]


def _parts(voxels: int, device: torch.device) -> list[slice]:
    step = _CHUNK_VOXELS.get(device.type, _CHUNK_VOXELS["cpu"])
    return [slice(start, start + step) for start in range(0, voxels, step)]


class _ClassSums(torch.autograd.Function):
    """`class_sums`, with merging and grouping as (C, D) and (G, C) matrices."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, merging: torch.Tensor, grouping: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        batch, rows = len(logits), sum(grouping.shape)
        log_loss = target.new_zeros(batch)
        overlap, size, volume = (target.new_zeros((batch, rows)) for _ in range(3))
        posteriors = torch.empty(logits.shape, device=logits.device)
        for b in range(batch):
            scores, shares, kept = (x[b].flatten(1) for x in (logits, target, posteriors))
            for part in _parts(scores.shape[1], logits.device):
                x, t = scores[:, part].contiguous().float(), _merged(merging, shares[:, part])
                p = kept[:, part] = torch.softmax(x, 0)
                # Largest score minus the log of its posterior: the log of softmax's denominator.
                log_total = x.amax(0) - p.amax(0).log_()
                log_loss[b] += torch.dot(log_total, t.sum(0)) - _dots(x, t).sum()
                p_groups, t_groups = grouping @ p, grouping @ t
                overlap[b] += torch.cat([_dots(p, t), _dots(p_groups, t_groups)])
                size[b] += torch.cat([_dots(p, p) + _dots(t, t), _dots(p_groups, p_groups) + _dots(t_groups, t_groups)])
                volume[b] += torch.cat([t.sum(1), t_groups.sum(1)])
        ctx.save_for_backward(posteriors, target, merging, grouping)
        ctx.kind = logits.dtype, logits.is_contiguous(memory_format=torch.channels_last_3d)
        ctx.mark_non_differentiable(volume)
        return log_loss, overlap, size, volume

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        posteriors, target, merging, grouping = ctx.saved_tensors
        of_loss, of_overlap, of_size, _ = gradients
        dtype, channels_last = ctx.kind
        layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        out = torch.empty(posteriors.shape, dtype=dtype, device=target.device, memory_format=layout)
        every = torch.cat([torch.eye(grouping.shape[1]).to(grouping), grouping])  # (C + G, C)
        for b in range(len(posteriors)):
            # The gradient in the posteriors is a matrix of the classes times t, plus another times p.
            times_t, times_p = (every.T * weight @ every for weight in (of_overlap[b], 2 * of_size[b]))
            kept, shares, found = (x[b].flatten(1) for x in (posteriors, target, out))
            for part in _parts(kept.shape[1], target.device):
                p, t = kept[:, part], _merged(merging, shares[:, part])
                slope = (times_t @ t).addmm_(times_p, p)
                slope += of_loss[b] * t.sum(0) - (slope * p).sum(0)
                found[:, part] = slope.mul_(p).sub_(of_loss[b] * t)
        return out, None, None, None


def _dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(R,): dot product of each row of two (R, N) tensors, faster on the CPU than a batched product of vectors."""
    products: torch.Tensor = torch.linalg.vecdot(a, b)
    return products


def _merged(merging: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    return shares if len(merging) == len(shares) else merging @ shares
