"""Smooth boundaries between labels on a grid of another voxel size, block by block.

Along one axis, where voxels become a third as large::

    old voxels         A     |     A     |     B
    new voxels     0   1   2 | 3   4   5 | 6   7   8
    cores              ^           ^           ^
    settled        A   A   A   A   A   .   .   B   B

1. A new voxel lies on the *core* of an old voxel, the new voxel nearest to its centre, or between cores. Where the
   enclosing cores (1, 2, 4 or 8 old voxels) have one label, that is its label: it is *settled*. So no old voxel is
   lost, however thin the structure, and face neighbours stay joined.
2. Every other voxel is *open*. It gets the label whose indicator, smoothed with a Gaussian, plus a bias, is largest.
   The bias is one number a label, chosen so that volumes stay (`lodbrain.synthesis.balance`).
3. What no path of its own label joins to a settled voxel takes a neighbour's label (`lodbrain.synthesis.pieces`). So no
   label falls into more pieces than it was in, whether pieces touch by faces only or by edges and corners, too.

Every number is computed from a neighbourhood of fixed size, and sums are of whole numbers up to 2^24, exact in float32:
neither blocks nor threads change the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodbrain.synthesis.pieces import attach, tangled

#: Standard deviation of the smoothing in voxels of the coarser grid: enough to round the steps of a voxel, too little
#: to move a boundary.
SMOOTHING_VOX = 0.6

#: Weights of one axis add up to this; of three axes to 2^24, the largest range of integers exact in float32.
WHOLE = 256

#: Upper edges of the bins of the margin between best and second best label, as shares of the whole: fine near 0.
MARGIN_EDGES = 0.5 * (np.arange(1, 65) / 64) ** 2

#: A gentle wave is added to the scores, of this amplitude and, along the axes, of these lengths in old voxels. Without
#: it a flat face, all of whose voxels have one score, could only move as a whole, and no bias would keep its volume.
WAVE, WAVELENGTHS_VOX = 1 / 128, (9.0, 10.0, 11.0)

#: Fine voxels of a block, halo excluded: some 0.5 GiB at work.
BLOCK_VOXELS = 1 << 24

_GOLDEN = (5**0.5 - 1) / 2
_NEVER = np.float32(-(2.0**30))


@dataclass(frozen=True)
class Axis:
    """One axis of both grids, which begin at the same outer face.

    Attributes
    ----------
    n_in, n_out : int
        Voxels.
    ratio : float
        Old voxel side over new voxel side.
    sigma_vox : float
        Standard deviation of the smoothing in voxels of the coarser grid.
    """

    n_in: int
    n_out: int
    ratio: float
    sigma_vox: float = SMOOTHING_VOX

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """(n_out,) float64: centre of each new voxel, in indices of the old axis."""
        return (np.arange(self.n_out, dtype=np.float64) + 0.5) / self.ratio - 0.5

    @cached_property
    def cores(self) -> NDArray[np.int64]:
        """(n_in,) int64: the new voxel nearest to the centre of each old one; of two, the one nearer to the middle."""
        return _nearest((np.arange(self.n_in, dtype=np.float64) + 0.5) * self.ratio - 0.5, self.n_out)

    @cached_property
    def support(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n_out,) int64 twice: the old voxels whose cores enclose each new one; the same where it is a core."""
        new = np.arange(self.n_out)
        low = np.searchsorted(self.cores, new, "right") - 1
        high = np.searchsorted(self.cores, new, "left")
        return np.clip(low, 0, self.n_in - 1), np.clip(high, 0, self.n_in - 1)

    @cached_property
    def nearest(self) -> NDArray[np.int64]:
        """(n_out,) int64: the old voxel of `support` that each new one is nearest to."""
        return np.clip(_nearest(self.position, self.n_in), *self.support)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(n_out, n_in) float32: Gaussian around each new centre at the old ones, in whole numbers of sum `WHOLE`."""
        if self.ratio == 1:
            return np.eye(self.n_out, self.n_in, dtype=np.float32) * WHOLE
        sigma = self.sigma_vox * max(1.0, 1 / self.ratio)
        # A voxel in the overhang behind the last old one sees what its inner neighbours see.
        position = np.clip(self.position, 0, self.n_in - 1)
        gauss = np.exp(-((position[:, None] - np.arange(self.n_in)) ** 2) / (2 * sigma**2))
        weights: NDArray[np.float32] = np.rint(WHOLE * gauss / gauss.sum(1, keepdims=True)).astype(np.float32)
        weights[np.arange(self.n_out), weights.argmax(1)] += WHOLE - weights.sum(1)
        return weights

    def wave(self, length_vox: float) -> NDArray[np.float32]:
        """(n_out,) float32: a cosine about the middle of the axis, so that mirrored maps give mirrored results."""
        from_middle = np.abs(np.arange(self.n_out) - (self.n_out - 1) / 2) / self.ratio
        wave: NDArray[np.float32] = np.cos(2 * np.pi * from_middle / length_vox).astype(np.float32)
        return wave

    @cached_property
    def reach(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n_out,) int64 twice: first and one past the last old voxel that a new one may depend on."""
        used = self.weights > 0
        first, last = used.argmax(1), self.n_in - used[:, ::-1].argmax(1)
        low, high = self.support
        return np.maximum(np.minimum(first, low - 1), 0), np.minimum(np.maximum(last, high + 2), self.n_in)


def _nearest(position: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Integers nearest to positions; a half goes to the middle, so that mirrored maps give mirrored results."""
    inwards = 1e-6 * np.sign((count - 1) / 2 - position)
    return np.clip(np.rint(position + inwards), 0, count - 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Tally:
    """What was counted in one pass.

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
    """Boxes of about `block_voxels` new voxels that tile the new grid."""
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
    progress: Callable[[float], None] = lambda share: None,
) -> Tally:
    """Fill `out` once, and count.

    Parameters
    ----------
    codes : (X, Y, Z) uint8
        0 .. L - 1.
    axes : tuple of Axis
    bias : (L,) float32
        Added to the smoothed indicators, which are 0 to 1.
    out : (X', Y', Z') uint8
        Codes on the new grid.
    block_voxels : int
        Size of a block; the result does not depend on it.
    progress : callable(float)
        Called with the share done.
    """
    finer = all(axis.ratio >= 1 for axis in axes)
    own, fill = _steps(axes) if finer else (0, 0)
    n_labels = len(bias)
    tally = Tally(np.zeros(n_labels, np.int64), np.zeros((n_labels, n_labels, len(MARGIN_EDGES)), np.int64))
    boxes = blocks(axes, block_voxels)
    for number, block in enumerate(boxes):
        wide = tuple(
            slice(max(0, s.start - own - fill), min(axis.n_out, s.stop + own + fill))
            for s, axis in zip(block, axes, strict=True)
        )
        reach = tuple(slice(a.reach[0][w].min(), a.reach[1][w].max()) for a, w in zip(axes, wide, strict=True))
        part = codes[reach]
        if part.min() == part.max():
            out[block] = part.flat[0]
        else:
            inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(block, wide, strict=True))
            local = _Local.of(axes, wide, reach)
            labels, settled = local.settle(part, finer=finer)
            open_at = np.flatnonzero(~settled)
            best, second, margin = local.compete(part, open_at, bias)
            labels.reshape(-1)[open_at] = best
            if finer:
                attach(labels, settled, own_steps=own)
            out[block] = labels[inner]
            inside = np.zeros(settled.shape, bool)
            inside[inner] = True
            keep = inside.reshape(-1)[open_at] & (second >= 0)
            bins = np.minimum(np.sqrt(margin[keep] * (2 / WHOLE**3)) * len(MARGIN_EDGES), len(MARGIN_EDGES) - 1)
            keys = (best[keep] * n_labels + second[keep]) * len(MARGIN_EDGES) + bins.astype(np.int64)
            tally.margins.reshape(-1)[:] += np.bincount(keys, minlength=tally.margins.size)
        tally.voxels[:] += np.bincount(out[block].reshape(-1), minlength=n_labels)
        progress((number + 1) / len(boxes))
    return tally


def _steps(axes: tuple[Axis, Axis, Axis]) -> tuple[int, int]:
    """How far a label may reach from a settled voxel, and how far the nearest settled voxel may be: in new voxels."""
    ratios = [int(np.ceil(axis.ratio)) for axis in axes]
    return 2 * max(ratios), sum(ratio // 2 + 1 for ratio in ratios)


@dataclass(frozen=True, eq=False)
class _Local:
    """The three axes as one block sees them: indices count from the first old voxel that it depends on."""

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

    def settle(self, part: NDArray[np.uint8], *, finer: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Nearest labels, and where they are final."""
        labels = part[np.ix_(*self.nearest)]
        if not finer:
            return labels, np.zeros(labels.shape, bool)
        least = most = part
        # Cell c lies between the old voxels c - 1 and c; a core belongs to the cells on both of its sides.
        torn = np.pad(tangled(part), 1)
        for axis, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            least = np.minimum(least.take(low, axis), least.take(high, axis))
            most = np.maximum(most.take(low, axis), most.take(high, axis))
            first = np.where(low == high, low, low + 1)
            torn = torn.take(first, axis) | torn.take(low + 1, axis)
        return labels, (least == most) | torn

    def compete(
        self, part: NDArray[np.uint8], open_at: NDArray[np.int64], bias: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Best and second best label (-1 for none) of the open voxels, and the margin between them, in 2^-24."""
        count = len(open_at)
        best, second = np.full(count, _NEVER), np.full(count, _NEVER)
        winner, other = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        shape = tuple(len(w) for w in self.weights)
        whole = np.zeros(shape, np.float32)
        x, y, z = self.waves
        wave = ((x[:, None, None] + y[:, None]) + z).reshape(-1)[open_at] * np.float32(WAVE * WHOLE**3 / 3)
        for code in np.unique(part).tolist():
            is_code = part == code
            box = tuple(_extent(is_code.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
            x, y, z = (w[:, b] for w, b in zip(self.weights, box, strict=True))
            touched = tuple(_extent(w.any(1)) for w in (x, y, z))
            x, y, z = (w[t] for w, t in zip((x, y, z), touched, strict=True))
            share = y @ (is_code[box].astype(np.float32) @ z.T)
            share = (x @ share.reshape(len(share), -1)).reshape(len(x), len(y), len(z))
            whole[touched] = share
            score = whole.reshape(-1)[open_at]
            whole[touched] = 0
            at = np.flatnonzero(score)
            # Each label rides the wave up or down to its own extent: what is added to all would change nothing.
            score = score[at] + np.float32(bias[code] * WHOLE**3) + wave[at] * np.float32(2 * (code * _GOLDEN % 1) - 1)
            wins = score > best[at]
            runs_up = ~wins & (score > second[at])
            up, down = at[wins], at[runs_up]
            second[up], other[up] = best[up], winner[up]
            best[up], winner[up] = score[wins], code
            second[down], other[down] = score[runs_up], code
        return winner, other, best - second


def _extent(inside: ArrayLike) -> slice:
    places = np.flatnonzero(inside)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
