"""Mask of the head, from intensities and the brain mask, without a model."""

from __future__ import annotations

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

#: Voxel side of the grid on which distances are computed.
COARSE_MM = 2.0

#: Air is below this share of the brain's intensity.
_AIR_SHARE = 0.15

#: A background brighter than this share of the brain is the noise of MP2RAGE's ratio image.
_NOISY_SHARE = 0.25

#: Distance over which ear canals, nostrils and the dark skull are closed.
_CLOSE_MM = 6.0


def head_mask(
    data: NDArray[np.float32], brain: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return the head without holes, and the intensities without background noise.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Scan, in RAS order.
    brain : (X, Y, Z) bool
        Voxels that certainly belong to the head.
    spacing_mm : (3,) float64

    Returns
    -------
    head : (X, Y, Z) bool
        One component; it includes cavities, also those that the lower edge of the field of view opens.
    values : (X, Y, Z) float32
        Smoothed; 0 is air, 1 the brain's median.
    """
    values = ndimage.gaussian_filter(data, 0.6 / spacing_mm)
    air = _air_level(values)
    if air > _NOISY_SHARE * np.median(values[brain]):
        # Noise has a standard deviation similar to its mean; tissue has not.
        size = np.maximum(3, 2 * np.rint(2.0 / spacing_mm).astype(int) + 1)
        mean = ndimage.uniform_filter(data, size)
        spread = np.sqrt(np.maximum(ndimage.uniform_filter(data**2, size) - mean**2, 0))
        values = mean - 1.5 * spread
        air = max(_air_level(values), 0.0)
    values = np.maximum(values - air, 0) / max(float(np.median(values[brain])) - air, 1e-6)
    tissue = ndimage.binary_opening(values > _AIR_SHARE) | brain
    # Closed first: bone may separate the brain from the scalp completely.
    pieces = cc3d.connected_components(closed(tissue, _CLOSE_MM, spacing_mm), connectivity=6)
    head = pieces == np.bincount(pieces[brain]).argmax()
    for z in range(head.shape[2]):
        head[..., z] = ndimage.binary_fill_holes(head[..., z])
    return ndimage.binary_fill_holes(head), values


def _air_level(values: NDArray[np.float32]) -> float:
    """Median over the left, right, front, back and upper faces, without padding.

    The lower face cuts the neck. 0 where nearly all voxels are padding.
    """
    faces = [values[:2], values[-2:], values[:, :2], values[:, -2:], values[..., -2:]]
    rim = np.concatenate([face.reshape(-1) for face in faces])
    measured = rim[rim != 0]
    return float(np.median(measured)) if measured.size > 0.05 * rim.size else 0.0


def distance_mm(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """(X, Y, Z) float32: distance of each voxel to the mask, computed on a grid of about `COARSE_MM`.

    The field of view's border does not count as a surface.
    """
    steps = _steps(spacing_mm)
    coarse = ndimage.distance_transform_edt(~_coarsened(mask, steps), sampling=spacing_mm * steps)
    return _refined(coarse.astype(np.float32), steps, mask.shape)


def closed(mask: NDArray[np.bool_], radius_mm: float, spacing_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the morphological closing of a mask with a ball."""
    steps = _steps(spacing_mm)
    sides = spacing_mm * steps
    margin = [(int(np.ceil(radius_mm / side)) + 1,) * 2 for side in sides]
    # Padded with the edge values: structures cut by the field of view continue outside.
    coarse = np.pad(_coarsened(mask, steps), margin, mode="edge")
    grown = ndimage.distance_transform_edt(~coarse, sampling=sides) <= radius_mm
    inside = ndimage.distance_transform_edt(grown, sampling=sides) - radius_mm
    inner = inside[tuple(slice(a, -b) for a, b in margin)]
    return (_refined(inner.astype(np.float32), steps, mask.shape) > 0) | mask


def local_level(
    values: NDArray[np.float32], where: NDArray[np.bool_], spacing_mm: NDArray[np.float64], *, sigma_mm: float
) -> NDArray[np.float32]:
    """(X, Y, Z) float32: mean of the values around each voxel, of those in a mask only."""
    steps = _steps(spacing_mm)
    smooth = [
        ndimage.gaussian_filter(_averaged(part, steps), sigma_mm / (spacing_mm * steps))
        for part in (values * where, where.astype(np.float32))
    ]
    return _refined(smooth[0] / np.maximum(smooth[1], 1e-3), steps, values.shape)


def _steps(spacing_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """(3,) int: voxels in one of about `COARSE_MM`."""
    return np.maximum(1, np.rint(COARSE_MM / spacing_mm)).astype(np.int64)


def _averaged(values: NDArray[np.float32], steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return means over boxes of `steps` voxels; the last box of an axis is padded with its edge voxels."""
    padded = np.pad(values, [(0, -n % s) for n, s in zip(values.shape, steps, strict=True)], mode="edge")
    x, y, z = (n // s for n, s in zip(padded.shape, steps, strict=True))
    i, j, k = steps
    means: NDArray[np.float32] = padded.reshape(x, i, y, j, z, k).mean((1, 3, 5), dtype=np.float32)
    return means


def _coarsened(mask: NDArray[np.bool_], steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    return _averaged(mask.astype(np.float32), steps) >= 0.5


def _refined(coarse: NDArray[np.float32], steps: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate linearly to the original voxels."""
    size = [int(n * s) for n, s in zip(coarse.shape, steps, strict=True)]
    grid = torch.from_numpy(np.ascontiguousarray(coarse, np.float32))[None, None]
    fine = torch.nn.functional.interpolate(grid, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
    return fine[: shape[0], : shape[1], : shape[2]]
