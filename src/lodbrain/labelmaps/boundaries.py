"""Smooth boundaries between labels on a grid of another voxel size, computed block by block.

Along one axis, where voxels become a third as large::

    old voxels         A     |     A     |     B
    new voxels     0   1   2 | 3   4   5 | 6   7   8
    cores              ^           ^           ^
    settled        A   A   A   A   A   .   .   B   B

1. A new voxel lies on the *core* of an old voxel, the new voxel nearest to its centre, or between cores. Where the
   enclosing cores (1, 2, 4 or 8 old voxels) have one label, the new voxel has that label: it is *settled*. No old voxel
   is lost, however thin the structure, and face neighbours stay connected. Where old voxels of a label touch by an edge
   or a corner only, the new voxel has the label of the nearest old voxel, also settled.
2. Every other voxel is *open*. It gets the label with the largest score: its indicator smoothed with a Gaussian, plus
   a bias. There is one bias per label, which preserves its volume (`lodbrain.labelmaps.balance`).
3. Voxels not connected to a settled voxel through their own label take a neighbour's label
   (`lodbrain.labelmaps.components`). The number of connected components does not increase, whether components are
   defined by faces only or by edges and corners, too.

Every number is computed from a neighbourhood of fixed size, and sums are of integers up to 2^24, exact in float32: the
result does not depend on blocks or threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lodbrain.labelmaps.components import attach, tangled
from lodbrain.labelmaps.label_scores import WHOLE, Kept, Scores, product_along_axes

#: Standard deviation of the smoothing in voxels of the coarser grid: enough to round the steps of a voxel, too little
#: to shift a boundary.
SMOOTHING_VOX = 0.6

#: Upper edges of histogram bins for the margin between best and second-best score, finer near 0.
MARGIN_EDGES = 0.5 * (np.arange(1, 65) / 64) ** 2

#: Amplitude of a wave added to the scores, and its lengths along the axes in old voxels. All voxels of a flat face have
#: the same score; without the wave the face could only move as a whole, and no bias would preserve its volume.
WAVE, WAVELENGTHS_VOX = 1 / 128, (9.0, 10.0, 11.0)

#: New voxels in a block without its halo: about 0.25 GiB of working memory per thread.
BLOCK_VOXELS = 1 << 23


@dataclass(frozen=True)
class Axis:
    """One axis of the old and the new grid, which start at the same outer face; `ratio` is old over new voxel side."""

    n_in: int
    n_out: int
    ratio: float

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """(n_out,) float64: centre of each new voxel, in indices of the old axis."""
        return (np.arange(self.n_out, dtype=np.float64) + 0.5) / self.ratio - 0.5

    @cached_property
    def cores(self) -> NDArray[np.int64]:
        """(n_in,) int64: new voxel nearest to the centre of each old one; of two, the one nearer to the middle."""
        return _nearest((np.arange(self.n_in, dtype=np.float64) + 0.5) * self.ratio - 0.5, self.n_out)

    @cached_property
    def support(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n_out,) int64 twice: old voxels whose cores enclose each new one; the same one where it is a core."""
        new = np.arange(self.n_out)
        low = np.searchsorted(self.cores, new, "right") - 1
        high = np.searchsorted(self.cores, new, "left")
        return np.clip(low, 0, self.n_in - 1), np.clip(high, 0, self.n_in - 1)

    @cached_property
    def nearest(self) -> NDArray[np.int64]:
        """(n_out,) int64: old voxel of `support` nearest to each new one."""
        return np.clip(_nearest(self.position, self.n_in), *self.support)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(n_out, n_in) float32: Gaussian around each new centre at the old ones, as integers of sum `WHOLE`."""
        if self.ratio == 1:
            return np.eye(self.n_out, self.n_in, dtype=np.float32) * WHOLE
        sigma = SMOOTHING_VOX * max(1.0, 1 / self.ratio)
        # A new voxel beyond the centre of the last old one has the weights of its inner neighbours.
        position = np.clip(self.position, 0, self.n_in - 1)
        gauss = np.exp(-((position[:, None] - np.arange(self.n_in)) ** 2) / (2 * sigma**2))
        weights: NDArray[np.float32] = np.rint(WHOLE * gauss / gauss.sum(1, keepdims=True)).astype(np.float32)
        weights[np.arange(self.n_out), weights.argmax(1)] += WHOLE - weights.sum(1)
        return weights

    def wave(self, length_vox: float) -> NDArray[np.float32]:
        """(n_out,) float32: cosine about the middle of the axis, so that mirrored maps give mirrored results."""
        from_middle = np.abs(np.arange(self.n_out) - (self.n_out - 1) / 2) / self.ratio
        wave: NDArray[np.float32] = np.cos(2 * np.pi * from_middle / length_vox).astype(np.float32)
        return wave

    @cached_property
    def reach(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n_out,) int64 twice: range (start, stop) of the old voxels that a new one may depend on."""
        used = self.weights > 0
        first, last = used.argmax(1), self.n_in - used[:, ::-1].argmax(1)
        low, high = self.support
        return np.maximum(np.minimum(first, low - 1), 0), np.minimum(np.maximum(last, high + 2), self.n_in)


def _nearest(position: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Integers nearest to positions; a half is rounded to the middle, so that mirrored maps give mirrored results."""
    inwards = 1e-6 * np.sign((count - 1) / 2 - position)
    return np.clip(np.rint(position + inwards), 0, count - 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts of one pass.

    Attributes
    ----------
    voxels : (L,) int64
        New voxels of each label.
    margins : (L, L, 64) int64
        Open voxels by best label, second best label, and the margin between their scores.
    """

    voxels: NDArray[np.int64]
    margins: NDArray[np.int64]


def blocks(axes: tuple[Axis, Axis, Axis], block_voxels: int = BLOCK_VOXELS) -> list[tuple[slice, slice, slice]]:
    """Return boxes of about `block_voxels` new voxels that tile the new grid."""
    side = max(1, round(block_voxels ** (1 / 3)))
    ranges = [[slice(start, min(start + side, axis.n_out)) for start in range(0, axis.n_out, side)] for axis in axes]
    return [(x, y, z) for x, y, z in itertools.product(*ranges)]


def resample_pass(
    codes: NDArray[np.uint8],
    axes: tuple[Axis, Axis, Axis],
    *,
    bias: NDArray[np.float32],
    out: NDArray[np.uint8],
    block_voxels: int = BLOCK_VOXELS,
    kept: Kept | None = None,
    threads: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> Tally:
    """Fill `out` in one pass, and count voxels and margins.

    Parameters
    ----------
    codes : (X, Y, Z) uint8
        0 .. L - 1.
    bias : (L,) float32
        Added to the smoothed indicators, which are 0 to 1.
    out : (X', Y', Z') uint8
        Codes on the new grid.
    block_voxels : int
        Size of a block; the result does not depend on it.
    kept : Kept, optional
        Scores of earlier passes over the same map, in the same blocks.
    threads : int
        Number of blocks computed in parallel. NumPy and PyTorch release the interpreter lock meanwhile.
    """
    finer = all(axis.ratio >= 1 for axis in axes)
    own_steps, fill_steps = _steps(axes) if finer else (0, 0)
    halo = own_steps + fill_steps
    n_labels, kept = len(bias), kept or Kept()
    tally = Tally(np.zeros(n_labels, np.int64), np.zeros((n_labels, n_labels, len(MARGIN_EDGES)), np.int64))
    boxes = blocks(axes, block_voxels)

    def fill_block(number: int) -> Tally | None:
        """Fill a block of `out` and return its counts, or None if it has one label only."""
        block = boxes[number]
        wide = tuple(
            slice(max(0, s.start - halo), min(axis.n_out, s.stop + halo)) for s, axis in zip(block, axes, strict=True)
        )
        reach = tuple(slice(a.reach[0][w].min(), a.reach[1][w].max()) for a, w in zip(axes, wide, strict=True))
        part = codes[reach]
        if part.min() == part.max():
            out[block] = part.flat[0]
            return None
        local = _Local.of(axes, wide, reach)
        labels = part[np.ix_(*local.nearest)]
        scores = kept.get(number, partial(local.scores, part, finer=finer))
        best, second, margin = scores.compete(bias)
        labels.reshape(-1)[scores.open_at] = best
        if finer:
            attach(labels, scores.settled(labels.shape), own_steps=own_steps)
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(block, wide, strict=True))
        out[block] = labels[inner]
        inside = np.zeros(labels.shape, bool)
        inside[inner] = True
        counted = inside.reshape(-1)[scores.open_at] & (second >= 0)
        bins = np.minimum(np.sqrt(margin[counted] * (2 / WHOLE**3)) * len(MARGIN_EDGES), len(MARGIN_EDGES) - 1)
        keys = (best[counted] * n_labels + second[counted]) * len(MARGIN_EDGES) + bins.astype(np.int64)
        margins = np.bincount(keys, minlength=tally.margins.size).reshape(tally.margins.shape)
        return Tally(np.bincount(labels[inner].reshape(-1), minlength=n_labels), margins)

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for number, found in enumerate(pool.map(fill_block, range(len(boxes)))):
            if found is None:
                tally.voxels[out[boxes[number]].flat[0]] += out[boxes[number]].size
            else:
                tally.voxels[:] += found.voxels
                tally.margins[:] += found.margins
            progress((number + 1) / len(boxes))
    return tally


def _steps(axes: tuple[Axis, Axis, Axis]) -> tuple[int, int]:
    """Return two bounds in new voxels: path of a label from a settled voxel, distance of any voxel to a settled one."""
    ratios = [int(np.ceil(axis.ratio)) for axis in axes]
    return 2 * max(ratios), sum(ratio // 2 + 1 for ratio in ratios)


@dataclass(frozen=True, eq=False)
class _Local:
    """The three axes restricted to one block; indices of old voxels are relative to the first that it depends on."""

    low: tuple[NDArray[np.int64], ...]
    high: tuple[NDArray[np.int64], ...]
    nearest: tuple[NDArray[np.int64], ...]
    weights: tuple[NDArray[np.float32], ...]
    waves: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, axes: tuple[Axis, ...], new: tuple[slice, ...], old: tuple[slice, ...]) -> _Local:
        triples = list(zip(axes, new, old, strict=True))
        return cls(
            low=tuple(a.support[0][n] - o.start for a, n, o in triples),
            high=tuple(a.support[1][n] - o.start for a, n, o in triples),
            nearest=tuple(a.nearest[n] - o.start for a, n, o in triples),
            weights=tuple(a.weights[n, o] for a, n, o in triples),
            waves=tuple(a.wave(v)[n] for (a, n, _), v in zip(triples, WAVELENGTHS_VOX, strict=True)),
        )

    def scores(self, part: NDArray[np.uint8], *, finer: bool) -> Scores:
        """Return the open voxels and the scores of the labels there."""
        shape = tuple(len(n) for n in self.nearest)
        open_at = np.flatnonzero(~self.settled(part)) if finer else np.arange(np.prod(shape))
        x, y, z = self.waves
        wave = ((x[:, None, None] + y[:, None]) + z).reshape(-1)[open_at] * np.float32(WAVE * WHOLE**3 / 3)
        whole, plane, labels = np.zeros(shape, np.float32), shape[1] * shape[2], []
        for code in np.unique(part).tolist():
            is_code = part == code
            box = tuple(_extent(is_code.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
            x, y, z = (w[:, b] for w, b in zip(self.weights, box, strict=True))
            touched = tuple(_extent(w.any(1)) for w in (x, y, z))
            x, y, z = (w[t] for w, t in zip((x, y, z), touched, strict=True))
            whole[touched] = product_along_axes(is_code[box].astype(np.float32), x, y, z)
            # Open voxels are in ascending order: those within the label's extent along the first axis are contiguous.
            first, last = np.searchsorted(open_at, [touched[0].start * plane, touched[0].stop * plane])
            score = whole.reshape(-1).take(open_at[first:last])
            whole[touched] = 0
            at = np.flatnonzero(score)
            labels.append((code, (at + first).astype(np.int32), score.take(at)))
        return Scores(open_at.astype(np.int32), wave, labels)

    def settled(self, part: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the settled voxels of the block, which have the label of the nearest old voxel."""
        least = most = part
        # Cell c lies between the old voxels c - 1 and c; a core belongs to the cells on both of its sides.
        touching = np.pad(tangled(part), 1)
        for axis, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            least = np.minimum(least.take(low, axis), least.take(high, axis))
            most = np.maximum(most.take(low, axis), most.take(high, axis))
            first = np.where(low == high, low, low + 1)
            touching = touching.take(first, axis) | touching.take(low + 1, axis)
        settled: NDArray[np.bool_] = (least == most) | touching
        return settled


def _extent(inside: ArrayLike) -> slice:
    places = np.flatnonzero(inside)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
