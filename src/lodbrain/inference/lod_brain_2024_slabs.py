"""Slab-wise forward pass of LOD-Brain's network in a box, with sampled GroupNorm statistics outside of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lodbrain.inference.tiling import Box, grow, offset, shape_of, slices
from lodbrain.models.lod_brain_2024 import LodBrain2024, doubled

#: Voxels that two consecutive 3x3x3 convolutions read beyond a slab.
HALO: Final = 2
#: Margin in voxels around the brain found by level 0, for brain that level 0 may have missed.
MARGIN: Final = 12
#: Planes of a slab: with 8, half of the convolutions are recomputed in halos; 32 take 0.7 GiB more at 256^3.
THICKNESS: Final = 16
#: Bytes of a kept feature.
KEPT_BYTES: Final = 2
#: Share of the planes outside the box that the statistics are estimated from, and planes of each sampled slab.
SAMPLED: Final = 0.25
SAMPLE_PLANES: Final = 4

#: Measured ratio of the process's memory to the sum of its tensors: convolutions make reordered copies.
OVERHEAD: Final = 1.25


def _grown(box: Box, shape: tuple[int, int, int]) -> Box:
    """Return the box with its halo, clipped to the grid, with even bounds so that it covers whole half-size voxels."""
    return grow(box, (HALO, HALO, HALO), shape, 2)


def _half(box: Box) -> Box:
    """Return the box in the coordinates of the half-size grid."""
    x, y, z = ((start // 2, stop // 2) for start, stop in box)
    return x, y, z


def _cut(x: Tensor, box: Box) -> Tensor:
    """Return the view of `x` (B, C, X, Y, Z) inside the box."""
    return x[..., *slices(box)]


def slabs(box: Box, thickness: int) -> Iterator[Box]:
    """Yield slabs of a box, cut along its first axis at multiples of `thickness`, an even number."""
    first, stop = box[0]
    for start in range(first // thickness * thickness, stop, thickness):
        yield (max(start, first), min(start + thickness, stop)), box[1], box[2]


@torch.inference_mode()
def logits_in_slabs(
    network: LodBrain2024,
    x: Tensor,
    box: Box,
    *,
    scan: Box | None = None,
    coarse: Tensor | None = None,
    thickness: int = THICKNESS,
    sampled: float = SAMPLED,
) -> Iterator[tuple[Box, Tensor]]:
    """Yield `network(x)` inside the box, slab by slab, up to rounding and the sampling of statistics.

    A full-size layer of 32 channels of 256^3 takes 2 GiB in float32, and a plain forward pass holds six of them. Here
    full-size convolutions run in the box only. The mean and variance of the two GroupNorms of level 1 depend on the
    whole volume: outside the box they are estimated from slabs that hold a share `sampled` of its planes, and from one
    slab of padding, which is uniform. Level 0 runs on the whole volume, at half the resolution.

    Parameters
    ----------
    network : LodBrain2024
        In eval mode, on the device of `x`.
    x : (1, 1, X, Y, Z) float
        z-scored volume in LIA order; the sides are multiples of 8.
    box : Box
        Region of the result, in voxels of `x`.
    scan : Box, optional
        The part of `x` without padding; default: the whole.
    coarse : (1, 32, X/2, Y/2, Z/2) tensor, optional
        `network.coarse(x)`, if already computed.
    thickness : int
        Planes of a slab, an even number.
    sampled : float
        Share of the planes outside the box whose features are computed for the statistics; 1 for all of them.

    Yields
    ------
    Box, (1, 7, ...) float
        Slab in voxels of `x`, and its logits.
    """
    shape = (x.shape[2], x.shape[3], x.shape[4])
    coarse = network.coarse(x) if coarse is None else coarse
    samples = parts(box, scan, shape, thickness=thickness, sampled=sampled)
    dtype = network.head(coarse[:, :, :1, :1, :1]).dtype  # autocast's dtype of convolutions, if enabled

    def before_norm(slab: Box) -> tuple[Box, Tensor]:
        """Return a slab with its halo, and its features before the GroupNorm of level 1."""
        wide = _grown(slab, shape)
        outer = _grown(wide, shape)
        return wide, _cut(network.down.conv(network.stem(_cut(x, outer))), offset(wide, outer))

    # Features are kept: those of the box, and those of the few samples. Two bytes a value suffice before the
    # normalisation, and they are most of the memory.
    kept_dtype = dtype if dtype.itemsize == KEPT_BYTES else torch.float16
    kept: list[tuple[Box, Box, Tensor]] = []
    statistics = _Statistics()
    for slab, weight in samples:
        wide, features = before_norm(slab)
        statistics.add(_cut(features, offset(slab, wide)), weight)
        kept.append((slab, wide, features.to(kept_dtype)))
        del features
    scale, shift = (value.to(x)[:, None, None, None] for value in statistics.scale_and_shift(network.down.norm))

    narrow = x.new_zeros((1, network.up.conv.out_channels, *(length // 2 for length in shape)))
    statistics = _Statistics()
    for (slab, wide, features), (_, weight) in zip(kept, samples, strict=True):
        part = F.relu_(torch.addcmul(shift, features, scale))
        part = network.up.conv(F.relu_(network.down.step(part)))
        part = _cut(part, offset(_half(slab), _half(wide)))
        statistics.add(part, weight)
        _cut(narrow, _half(slab)).copy_(part)
    del kept, features, part
    scale, shift = (value.to(x)[:, None, None, None] for value in statistics.scale_and_shift(network.up.norm))
    narrow = F.relu_(torch.addcmul(shift, narrow, scale))

    for slab in slabs(box, thickness):
        outer = _grown(slab, shape)
        features = F.relu_(network.up.step(_cut(narrow, _half(outer))))
        features += network.stem(_cut(x, outer))
        features += doubled(_cut(coarse, _half(outer)))
        features = network.out(features)
        half, wide = _half(outer), _half(_grown(outer, shape))
        coarse_out = _cut(network.coarse.out(_cut(coarse, wide)), offset(half, wide))
        features += doubled(coarse_out)
        yield slab, network.head(_cut(features, offset(slab, outer)))


@torch.inference_mode()
def brain_box(network: LodBrain2024, coarse: Tensor, scan: Box) -> Box:
    """Return the box of the brain found by level 0, with a margin, within the scan; the whole scan if none is found.

    The last layer was trained on the sum of both levels' features; on level 0's alone it gives a coarse brain mask.

    Parameters
    ----------
    coarse : (1, 32, X/2, Y/2, Z/2) tensor
        `network.coarse` of a volume.
    scan : Box
        The part of the volume without padding.
    """
    brain = network.head(network.coarse.out(coarse))[0].argmax(0) > 0
    sides = []
    for axis, (start, stop) in enumerate(scan):
        at = brain.amax([other for other in range(3) if other != axis]).nonzero().flatten()
        if not len(at):
            return scan
        first, last = 2 * int(at[0]) - MARGIN, 2 * int(at[-1]) + 2 + MARGIN
        sides.append((max(start, first), min(stop, last)))
    if any(stop <= start for start, stop in sides):
        return scan
    return sides[0], sides[1], sides[2]


def parts(
    box: Box, scan: Box | None, shape: tuple[int, int, int], *, thickness: int = THICKNESS, sampled: float = SAMPLED
) -> list[tuple[Box, float]]:
    """Return the slabs whose features are computed, and the weight of each; arguments as in `logits_in_slabs`."""
    inner = _grown(box, shape)  # half-size convolutions read beyond the box
    whole = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    measured = whole if scan is None else _grown(scan, shape)
    found = [(slab, 1.0) for slab in slabs(inner, thickness)]
    for outside in _around(inner, measured):
        found += _sampled(outside, sampled, shape[0])
    for padding in _around(measured, whole):
        found += _sampled(padding, 0.0, shape[0])
    return found


def memory_bytes(box: Box, scan: Box | None, shape: tuple[int, int, int], *, dtype: torch.dtype) -> int:
    """Return the bytes that `logits_in_slabs` takes at its peak beyond the volume, with convolutions in `dtype`."""
    grid = math.prod(shape)
    coarse = 32 * dtype.itemsize * grid // 8
    kept = sum(math.prod(shape_of(_grown(slab, shape))) for slab, _ in parts(box, scan, shape))
    wide = _grown(_grown(((0, THICKNESS), box[1], box[2]), shape), shape)
    slab = math.prod(shape_of(wide))
    narrow = 2 * 8 * 4 * grid // 8
    used = max(4 * coarse, coarse + 32 * KEPT_BYTES * kept + narrow + 32 * (4 + 2 * dtype.itemsize) * slab)
    return int(OVERHEAD * used)


def _around(box: Box, whole: Box) -> Iterator[Box]:
    """Yield at most six boxes that cover `whole` outside of a box in it."""
    for axis in range(3):
        for start, stop in ((whole[axis][0], box[axis][0]), (box[axis][1], whole[axis][1])):
            if start < stop:
                sides = [*box[:axis], (start, stop), *whole[axis + 1 :]]
                yield sides[0], sides[1], sides[2]


def _sampled(box: Box, share: float, length: int) -> list[tuple[Box, float]]:
    """Return slabs that hold a share of the planes of a box, and the weight of each.

    All planes at the edge of the volume, of `length` planes, are included: the convolutions' zero padding makes them
    unlike all others. The other slabs, at least one, are evenly spaced.
    """
    start, stop = box[0]
    spans = [(start, start + 2)] if start == 0 else []
    spans += [(stop - 2, stop)] if stop == length and (start > 0 or stop > 2) else []
    start, stop = start + 2 * (start == 0), stop - 2 * (stop == length)
    weights = [1.0] * len(spans)
    if stop - start > 0:
        planes, thick = (stop - start) // 2, SAMPLE_PLANES // 2  # in pairs: slabs cover whole half-size voxels
        number = max(1, round(share * planes / thick))
        if number * thick >= planes:
            spans, weights = [*spans, (start, stop)], [*weights, 1.0]
        else:
            firsts = [start + 2 * int((n + 0.5) * planes / number - thick / 2) for n in range(number)]
            spans += [(first, first + 2 * thick) for first in firsts]
            weights += [planes / (number * thick)] * number
    return [((span, box[1], box[2]), weight) for span, weight in zip(spans, weights, strict=True)]


class _Statistics:
    """Weighted mean and variance of channels over parts of a volume."""

    def __init__(self) -> None:
        self.variances: list[Tensor] = []
        self.means: list[Tensor] = []
        self.sizes: list[float] = []

    def add(self, part: Tensor, weight: float) -> None:
        """Add a part (1, C, X, Y, Z)."""
        for planes in torch.split(part[0].movedim(0, -1), 2):  # fits into the cache
            values = planes.reshape(-1, part.shape[1]).float()
            mean = values.mean(0)
            self.means.append(mean.cpu().double())
            self.variances.append((values - mean).square_().mean(0).cpu().double())  # not in place: a view of `part`
            self.sizes.append(weight * len(values))

    def scale_and_shift(self, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Return scale and shift (C,) float64 that are equivalent to the GroupNorm over the whole volume."""
        return _group_norm(
            norm, torch.stack(self.variances), torch.stack(self.means), torch.tensor(self.sizes, dtype=torch.float64)
        )


def _group_norm(norm: nn.GroupNorm, variances: Tensor, means: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,) float64 of a GroupNorm from the channels' variances and means (slabs, C) and sizes.

    The pooled variance is E[variance of a part + mean of a part squared] - E[mean]^2, over parts of `sizes` voxels.
    """
    weight = (sizes.double() / sizes.sum())[:, None]

    def pooled(values: Tensor) -> Tensor:
        groups = (weight * values).sum(0).view(norm.num_groups, -1)
        return groups.mean(1, keepdim=True).expand_as(groups).flatten()

    mean = pooled(means)
    variance = pooled(variances + means**2) - mean**2
    scale = norm.weight.cpu().double() / (variance + norm.eps).sqrt()
    return scale, norm.bias.cpu().double() - mean * scale
