"""Scores of labels in a block of upsampled voxels, and the winning labels for given biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

#: The weights of one axis sum to this, and those of three axes to 2^24, the largest integer range exact in float32.
WHOLE = 256

#: Limit in bytes of arrays kept between passes: 0.3 GB for a head at 0.5 mm. Beyond it they are computed again.
KEPT_BYTES = 1 << 29

_GOLDEN = (5**0.5 - 1) / 2
_NEVER = np.float32(-(2.0**30))


@dataclass(frozen=True, eq=False)
class Scores:
    """Arrays of one block that do not depend on the biases.

    Attributes
    ----------
    open_at : (N,) int32
        Flat index of each open voxel, in ascending order.
    wave : (N,) float32
        Value added to the score there, in 2^-24.
    labels : list of (code, at, score)
        For each label the open voxels where it has a score, (M,) int32 positions in `open_at`, and that score.
    """

    open_at: NDArray[np.int32]
    wave: NDArray[np.float32]
    labels: list[tuple[int, NDArray[np.int32], NDArray[np.float32]]]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.open_at.nbytes + self.wave.nbytes + sum(at.nbytes + score.nbytes for _, at, score in self.labels)

    def settled(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(X, Y, Z) bool: voxels that are not open."""
        settled = np.ones(shape, bool)
        settled.reshape(-1)[self.open_at] = False
        return settled

    def compete(self, bias: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return best and second best label (-1 for none) of the open voxels, and their margin in 2^-24."""
        count = len(self.open_at)
        best, second = np.full(count, _NEVER), np.full(count, _NEVER)
        winner, other = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        for code, at, share in self.labels:
            # The wave is scaled by each label's own extent: a value added to all labels would change nothing.
            ride = self.wave.take(at) * np.float32(2 * (code * _GOLDEN % 1) - 1)
            score = share + np.float32(bias[code] * WHOLE**3) + ride
            leader = best.take(at)
            wins = score > leader
            runs_up = ~wins & (score > second.take(at))
            up, down = at[wins], at[runs_up]
            second[up], other[up] = leader[wins], winner[up]
            best[up], winner[up] = score[wins], code
            second[down], other[down] = score[runs_up], code
        return winner, other, best - second


class Kept:
    """Scores shared by all passes over one map, block by block, up to `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._blocks: dict[int, Scores] = {}
        self._room, self._lock = KEPT_BYTES, Lock()

    def get(self, number: int, make: Callable[[], Scores]) -> Scores:
        """Return the scores of a block, from memory or computed."""
        found = self._blocks.get(number)
        if found is None:
            found = make()
            with self._lock:
                if found.nbytes <= self._room:
                    self._blocks[number] = found
                    self._room -= found.nbytes
        return found


def product_along_axes(
    values: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(X', Y', Z'): values (X, Y, Z) times a matrix along each axis.

    Uses PyTorch, which respects the thread limit of the calling thread; NumPy's threads would compete.
    """
    array, of_x, of_y, of_z = (torch.from_numpy(each) for each in (values, x, y, z))
    planes = of_y @ (array @ of_z.T)
    result: NDArray[np.float32] = (of_x @ planes.flatten(1)).view(len(x), len(y), len(z)).numpy()
    return result
