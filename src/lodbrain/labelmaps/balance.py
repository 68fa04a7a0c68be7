"""Biases of labels that preserve their volumes when boundaries are smoothed.

Smoothing shrinks thin and convex structures and enlarges what surrounds them. A constant added to each label's score
moves its boundaries outwards or inwards. The number of voxels that change their label follows from the margins counted
in the pass (`lodbrain.labelmaps.boundaries.Tally`), so that no pass over the map is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lodbrain.labelmaps.boundaries import MARGIN_EDGES

#: Limit of the biases: beyond it, a label would win far from its own voxels. Neighbours need about 0.2 between them,
#: which accumulates from shell to shell.
LARGEST_BIAS = 0.6

#: Each label's step grows while its volume stays on one side of the target, and shrinks after it passes the target (the
#: rule of Riedmiller and Braun 1993, RPROP, doi:10.1109/ICNN.1993.298623): faces and corners move at different rates.
_ROUNDS, _FIRST_STEP, _LARGEST_STEP, _GROWTH, _SHRINKAGE = 300, 0.005, 0.02, 1.2, 0.5


def rebalance(
    voxels: NDArray[np.int64], margins: NDArray[np.int64], *, target: NDArray[np.float64], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return biases with which each label would have its target volume.

    Parameters
    ----------
    voxels : (L,) int64
        Volumes with the present biases.
    margins : (L, L, 64) int64
        Voxels by best label, second best, and margin.
    target : (L,) float64
        Target volumes in new voxels.
    bias : (L,) float32
        The present biases.

    Returns
    -------
    (L,) float32
        Within +-`LARGEST_BIAS`; 0 for the largest label.
    """
    # changed[a, b, k]: voxels that change from a to b when b gains edge k on a
    changed = np.concatenate([np.zeros((*margins.shape[:2], 1)), margins.cumsum(2)], axis=2)
    edges = np.concatenate([[0.0], MARGIN_EDGES])
    start = bias.astype(np.float64)
    new, step, before = start.copy(), np.full(len(start), _FIRST_STEP), np.zeros(len(start))
    for _ in range(_ROUNDS):
        gain = new - start
        lead = np.clip(gain[None] - gain[:, None], 0, edges[-1])
        low = np.clip(np.searchsorted(edges, lead, "right") - 1, 0, len(edges) - 2)
        below, above = (np.take_along_axis(changed, (low + k)[..., None], 2)[..., 0] for k in (0, 1))
        lost = below + (above - below) * (lead - edges[low]) / (edges[low + 1] - edges[low])
        missing = np.sign(target - (voxels - lost.sum(1) + lost.sum(0)))
        step = np.minimum(step * np.where(missing * before >= 0, _GROWTH, _SHRINKAGE), _LARGEST_STEP)
        before = missing
        new = new + step * missing
        new = np.clip(new - new[target.argmax()], -LARGEST_BIAS, LARGEST_BIAS)
    return new.astype(np.float32)
