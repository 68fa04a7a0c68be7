"""Label maps on a finer grid, with smooth boundaries instead of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from lodbrain.synthesis.labelmaps import BRAIN_CODES, DISTANCE_STEP_MM, LabelMap

#: Standard deviation of the smoothing in voxels of the coarse map: enough to round the steps of a voxel, too little to move a boundary.
SMOOTHING_VOX = 0.6


def smoothing_matrix(n: int, factor: int, sigma_vox: float = SMOOTHING_VOX) -> torch.Tensor:
    """(n * factor, n): Gaussian interpolation of one axis; rows sum to 1.

    Row j is the Gaussian around the centre of fine voxel j, sampled at the coarse centres.
    """
    fine = (torch.arange(n * factor, dtype=torch.float32) + 0.5) / factor
    coarse = torch.arange(n, dtype=torch.float32) + 0.5
    # Linear interpolation adds the variance of a triangle; a Gaussian of this width over samples does both at once.
    weights = torch.exp(-((fine[:, None] - coarse[None]) ** 2) / (2 * sigma_vox**2))
    weights[weights < 1e-4] = 0
    return weights / weights.sum(1, keepdim=True)


def upsample_codes(codes: torch.Tensor, factor: int, *, sigma_vox: float = SMOOTHING_VOX) -> torch.Tensor:
    """Codes on a grid `factor` times as fine: at each point the label whose smoothed indicator is largest.

    Parameters
    ----------
    codes : (X, Y, Z) uint8 tensor
    factor : int
        1 gives the map itself.

    Returns
    -------
    (X * factor, Y * factor, Z * factor) uint8 tensor
        No label that was not there before.
    """
    if factor == 1:
        return codes.clone()
    array = codes.numpy()
    best = torch.zeros([n * factor for n in codes.shape], dtype=torch.float16)
    out = torch.zeros([n * factor for n in codes.shape], dtype=torch.uint8)
    matrices = [smoothing_matrix(n, factor, sigma_vox) for n in codes.shape]
    boxes = ndimage.find_objects(array.astype(np.int32) + 1)
    for code in np.unique(array).tolist():
        reach = 3
        box = [
            slice(max(0, s.start - reach), min(n, s.stop + reach))
            for s, n in zip(boxes[code], array.shape, strict=True)
        ]
        share = torch.from_numpy((array[tuple(box)] == code).astype(np.float32))
        for axis, (s, matrix) in enumerate(zip(box, matrices, strict=True)):
            part = matrix[s.start * factor : s.stop * factor, s]
            share = torch.tensordot(part, share, dims=([1], [axis])).movedim(0, axis)
        where = tuple(slice(s.start * factor, s.stop * factor) for s in box)
        share = share.half()
        wins = share > best[where]
        best[where] = torch.where(wins, share, best[where])
        out[where] = torch.where(wins, torch.tensor(code, dtype=torch.uint8), out[where])
    return out


def upsample(labels: LabelMap, factor: int) -> LabelMap:
    """A `LabelMap` with voxels `factor` times as small; coordinates in mm stay the same."""
    codes = upsample_codes(labels.codes, factor)
    spacing = labels.spacing_mm / factor
    brain = np.isin(codes.numpy(), BRAIN_CODES)
    distance = ndimage.distance_transform_edt(~brain, sampling=spacing.tolist()) / DISTANCE_STEP_MM
    steps = torch.from_numpy(np.minimum(np.ceil(distance), 255).astype(np.uint8))
    return replace(labels, codes=codes, distance=steps, spacing_mm=spacing)
