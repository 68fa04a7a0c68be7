"""Noise, its smoothness, and background of a scan, measured in air and within one tissue."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lodbrain.contrast_analysis.sampling import Floats
from lodbrain.synthesis.profile import Air

#: Side of the corner blocks that are taken as air, as a share of the volume's side.
CORNER = 0.12

#: Air brighter than this share of white matter is not magnitude noise, but the noise of MP2RAGE's ratio image.
BRIGHT_AIR = 0.2

#: If neighbouring voxels are correlated more than this, the corners hold tissue, not noise.
LARGEST_CORRELATION = 0.5

#: Lag in voxels at which noise is uncorrelated and anatomy is still the same.
FAR = 3
FEWEST_PAIRS = 200

#: Median of the absolute value of a standard normal variable.
_MAD = 0.6745


def measure_background(data: NDArray[np.floating], brain: NDArray[np.bool_], white_matter: float) -> Air:
    """Return kind and level, in intensities of the scan, of the background in the darker half of its eight corners.

    Parameters
    ----------
    data : (X, Y, Z) float
        The scan, with 0 as its lowest possible intensity.
    brain : (X, Y, Z) bool
        Voxels that are never taken as air.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(0, 5, (2, 40, 40, 40))
    >>> found = measure_background(np.hypot(*noise), np.zeros((40, 40, 40), bool), 100.0)
    >>> found.kind, round(found.level)
    ('rician', 5)
    """
    size = [max(2, round(n * CORNER)) for n in data.shape]
    blocks = []
    for corner in np.ndindex(2, 2, 2):
        box = tuple(slice(n - s, n) if far else slice(s) for far, n, s in zip(corner, data.shape, size, strict=True))
        if not brain[box].any():
            blocks.append(data[box].astype(np.float64))
    if not blocks:
        return Air("unknown", 0.0)
    blocks = sorted(blocks, key=lambda block: float(block.mean()))[: max(1, len(blocks) // 2)]
    air = np.concatenate([block.ravel() for block in blocks])
    middle = float(np.median(air))
    if (air == middle).mean() > 0.5:
        return Air("zero", middle)
    if _neighbour_correlation(blocks) > LARGEST_CORRELATION:
        return Air("unknown", 0.0)
    if air.mean() > BRIGHT_AIR * white_matter:
        return Air("mp2rage", 2 * float(air.mean()))
    # Real-valued noise is distributed around 0; of magnitudes, the mean square is twice the variance.
    parts = 1 if (air < 0).mean() > 0.2 else 2
    return Air("rician", math.sqrt(float((air**2).mean()) / parts))


def _neighbour_correlation(blocks: list[Floats]) -> float:
    products, squares = 0.0, 0.0
    for block in blocks:
        rest = block - block.mean()
        products += float((rest[1:] * rest[:-1]).mean())
        squares += float((rest**2).mean())
    return products / max(squares, 1e-30)


def noise_and_smoothness(
    residual: NDArray[np.floating], mask: NDArray[np.bool_], spacing_mm: Floats
) -> tuple[float, float] | None:
    """Return the standard deviation of noise, and the width of its blur, from differences of voxels within one tissue.

    Half the variance of the difference of two voxels, D(h), grows with their distance h from the uncorrelated part of
    the noise's variance to all of it: the correlation of neighbours is 1 - D(1) / D(`FAR`). White noise blurred by a
    Gaussian of standard deviation s has the correlation exp(-h^2 / (4 s^2)). Slow variation, of anatomy or of the
    remaining bias field, hardly affects either.

    Parameters
    ----------
    residual : (X, Y, Z) float
        The scan minus its expectation.
    mask : (X, Y, Z) bool
        Interior of one tissue, away from its border.
    spacing_mm : (3,) float64

    Returns
    -------
    noise, fwhm_mm : float
        None instead if the mask holds too few pairs of voxels.
    """
    far, widths = [], []
    for axis in range(3):
        ends = (_half_variance(residual, mask, axis, 1), _half_variance(residual, mask, axis, FAR))
        if ends[0] is None or ends[1] is None:
            continue
        far.append(ends[1])
        correlation = 1 - ends[0] / max(ends[1], 1e-30)
        # 2 sqrt(2 ln 2) s with s = h / (2 sqrt(-ln correlation))
        width = math.sqrt(2 * math.log(2) / -math.log(min(correlation, 0.99))) if correlation > 0.01 else 0.0
        widths.append(width * float(spacing_mm[axis]))
    if not far:
        return None
    return math.sqrt(float(np.mean(far))), float(np.mean(widths))


def _half_variance(residual: NDArray[np.floating], mask: NDArray[np.bool_], axis: int, lag: int) -> float | None:
    """Return half the variance (robust) of the difference of voxels `lag` apart; None for too few pairs."""
    n = residual.shape[axis]
    ahead, behind = (np.arange(lag, n), np.arange(n - lag)) if n > lag else (np.arange(0), np.arange(0))
    pairs = mask.take(ahead, axis) & mask.take(behind, axis)
    if pairs.sum() < FEWEST_PAIRS:
        return None
    difference = (residual.take(ahead, axis) - residual.take(behind, axis))[pairs]
    return float(np.median(np.abs(difference)) / _MAD) ** 2 / 2
