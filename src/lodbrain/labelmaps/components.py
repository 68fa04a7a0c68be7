"""Preservation of a label's connected components when its boundaries are smoothed."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_CORNERS = list(itertools.product((0, 1), repeat=3))
_EDGES = [
    (a, b) for a, b in itertools.combinations(range(8), 2) if sum(np.abs(np.subtract(_CORNERS[a], _CORNERS[b]))) == 1
]
_DIAGONALS = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a, b) not in _EDGES]


def tangled(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(X - 1, Y - 1, Z - 1) bool: cells of 2 x 2 x 2 voxels where a label is connected by an edge or a corner only.

    Smoothing would keep or break such a connection arbitrarily.
    """
    x, y, z = (n - 1 for n in codes.shape)
    result = np.zeros((x, y, z), bool)
    corners = [codes[i : i + x, j : j + y, k : k + z] for i, j, k in _CORNERS]
    mixed = np.zeros((x, y, z), bool)
    for corner in corners[1:]:
        mixed |= corner != corners[0]
    values = [corner[mixed] for corner in corners]
    joined = {pair: values[pair[0]] == values[pair[1]] for pair in (*_EDGES, *_DIAGONALS)}
    # Each corner's group has the number of its lowest corner; a path along edges of a cube visits at most 7 of them.
    groups = [np.full(len(values[0]), corner, np.uint8) for corner in range(8)]
    for _ in range(4):
        for a, b in _EDGES:
            low = np.minimum(groups[a], groups[b])
            groups[a] = np.where(joined[a, b], low, groups[a])
            groups[b] = np.where(joined[a, b], low, groups[b])
    apart = np.zeros(len(values[0]), bool)
    for a, b in _DIAGONALS:
        apart |= joined[a, b] & (groups[a] != groups[b])
    result[mixed] = apart
    return result


def attach(labels: NDArray[np.uint8], settled: NDArray[np.bool_], *, own_steps: int) -> None:
    """Give voxels without a path of at most `own_steps` through their own label to a settled voxel a neighbour's label.

    The labels (X, Y, Z) are changed in place.
    """
    inner = (slice(1, -1),) * 3
    values, reached = np.pad(labels, 1), np.pad(settled, 1)
    flat, done = values.reshape(-1), reached.reshape(-1)
    inside = np.zeros(values.shape, bool)
    inside[inner] = ~settled
    todo = np.flatnonzero(inside)
    strides = [values.shape[1] * values.shape[2], values.shape[2], 1]
    neighbours = [sign * stride for stride in strides for sign in (-1, 1)]
    for _ in range(own_steps):
        found = np.zeros(len(todo), bool)
        for offset in neighbours:
            found |= done[todo + offset] & (flat[todo + offset] == flat[todo])
        if not found.any():
            break
        done[todo[found]] = True
        todo = todo[~found]
    while len(todo):
        source = np.zeros_like(todo)
        for offset in reversed(neighbours):
            source = np.where(done[todo + offset], todo + offset, source)
        found = source > 0
        if not found.any():  # a block's rim that is in no cell of its own
            break
        flat[todo[found]] = flat[source[found]]
        done[todo[found]] = True
        todo = todo[~found]
    labels[...] = values[inner]
