"""Calibration of posteriors: reliability curve, expected calibration error, temperature scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import logsumexp

#: Number of bins of equal width, as in Guo et al.
BINS = 15
_TEMPERATURES = (0.2, 5.0)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Reliability curve: accuracy of decisions by certainty, the posterior of the decided class.

    Attributes
    ----------
    edges : (B + 1,) float64
        Edges of the bins of certainty, from 0 to 1.
    count : (B,) int64
    certainty, accuracy : (B,) float64
        Means within each bin; NaN where it is empty.
    error : float
        Expected calibration error: mean |certainty - accuracy| weighted by the counts; NaN without voxels.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, arXiv:1706.04599.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    certainty: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def reliability(certainty: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = BINS) -> Reliability:
    """Return the reliability curve of decisions.

    Parameters
    ----------
    certainty : (n,) float
        Posterior of the decided class, 0 to 1.
    right : (n,) bool
        Whether the decided class is the true one.

    Examples
    --------
    >>> found = reliability(np.array([0.95, 0.95, 0.95, 0.95]), np.array([True, True, True, False]))
    >>> round(found.error, 6)
    0.2
    """
    bin_of = np.clip(np.ceil(certainty * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_certainty = np.bincount(bin_of, certainty, minlength=bins) / count
        accuracy = np.bincount(bin_of, right, minlength=bins) / count
    error = float(np.nansum(count * np.abs(mean_certainty - accuracy)) / count.sum()) if count.sum() else math.nan
    return Reliability(np.linspace(0, 1, bins + 1), count, mean_certainty, accuracy, error)


def at_temperature(log_p: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return log posteriors (n, C) at another temperature: log p / temperature, normalised."""
    scaled = log_p.astype(np.float64) / temperature
    result: NDArray[np.float64] = scaled - logsumexp(scaled, axis=1, keepdims=True)
    return result


def fit_temperature(log_p: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """Return the temperature that maximises the mean log posterior of the truth.

    Parameters
    ----------
    log_p : (n, C) float
    truth : (n,) int
        Class of each voxel.

    Raises
    ------
    ValueError
        If there are no voxels.
    """
    if not len(log_p):
        raise ValueError("log_p must have at least one voxel")
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return -float(at_temperature(log_p, math.exp(log_temperature))[rows, truth].mean())

    low, high = (math.log(t) for t in _TEMPERATURES)
    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return math.exp(float(found.x))


def conformal_width(residuals: NDArray[np.floating], coverage: float) -> float:
    """Return the split-conformal bound: a new residual exceeds it with a probability of at most 1 - `coverage`.

    It is the ceil((n + 1) coverage)-th smallest of n exchangeable residuals; infinite where n is too small.

    Examples
    --------
    >>> conformal_width(np.arange(1.0, 10.0), 0.9)
    9.0
    """
    rank = math.ceil((len(residuals) + 1) * coverage - 1e-9)
    return float(np.sort(residuals)[rank - 1]) if rank <= len(residuals) else math.inf
