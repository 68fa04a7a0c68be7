"""Agreement of volumes with a reference (Bland-Altman) and between scans of a subject (test-retest).

References
----------
Bland JM, Altman DG. Measuring agreement in method comparison studies. Statistical Methods in Medical Research 8:135-160
(1999), doi:10.1177/096228029900800204: limits of agreement, their standard errors (section 2), repeatability (3).
Shrout PE, Fleiss JL. Intraclass correlations. Psychological Bulletin 86:420-428 (1979): ICC(1,1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Normal quantile of 97.5%.
Z = 1.959963984540054


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of predicted with reference volumes.

    Attributes
    ----------
    bias_mm3, low_mm3, high_mm3 : float
        Mean difference prediction - reference, and the limits within which 95% of differences are expected.
    bias_error_mm3, limit_error_mm3 : float
        Standard errors of the bias and of each limit.
    bias_percent, low_percent, high_percent : float
        The same for differences in percent of the mean of both.
    """

    n: int
    bias_mm3: float
    low_mm3: float
    high_mm3: float
    bias_error_mm3: float
    limit_error_mm3: float
    bias_percent: float
    low_percent: float
    high_percent: float


@dataclass(frozen=True)
class Retest:
    """Agreement of volumes between scans of the same subject.

    Attributes
    ----------
    within_sd_mm3 : float
        Root of the mean variance within subjects.
    cv_percent : float
        Root mean square of the subjects' coefficients of variation (standard deviation over mean).
    repeatability_mm3 : float
        Repeatability coefficient 1.96 sqrt(2) within_sd: 95% of differences of two scans of a subject are smaller.
    icc : float
        ICC(1,1): share of the variance that is between subjects. NaN for one subject.
    """

    subjects: int
    scans: int
    mean_mm3: float
    within_sd_mm3: float
    cv_percent: float
    repeatability_mm3: float
    icc: float


def bland_altman(pred: NDArray[np.float64], ref: NDArray[np.float64]) -> BlandAltman:
    """Return bias and limits of agreement.

    Parameters
    ----------
    pred, ref : (n,) float
        Volumes in mm^3; pairs with a NaN, and pairs of zeros, are ignored.

    Examples
    --------
    >>> import numpy as np
    >>> found = bland_altman(np.array([11.0, 22.0, 33.0]), np.array([10.0, 20.0, 30.0]))
    >>> found.n, found.bias_mm3, round(found.high_mm3, 2), round(found.bias_percent, 2)
    (3, 2.0, 3.96, 9.52)
    """
    keep = ~np.isnan(pred) & ~np.isnan(ref) & (pred + ref > 0)
    pred, ref = pred[keep], ref[keep]
    n = len(pred)
    if n == 0:
        return BlandAltman(0, *[math.nan] * 8)
    bias, low, high = _limits(pred - ref)
    sd = (high - bias) / Z
    # Bland and Altman 1999: var(bias) = s^2 / n, var(limit) = (1/n + 1.96^2 / (2 (n - 1))) s^2
    limit = sd * math.sqrt(1 / n + Z**2 / (2 * (n - 1))) if n > 1 else math.nan
    return BlandAltman(n, bias, low, high, sd / math.sqrt(n), limit, *_limits(200 * (pred - ref) / (pred + ref)))


def _limits(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    bias = float(differences.mean())
    spread = Z * float(differences.std(ddof=1)) if len(differences) > 1 else math.nan
    return bias, bias - spread, bias + spread


def retest(volumes: Mapping[str, Sequence[float]]) -> Retest | None:
    """Return the repeatability of volumes, or None where no subject was scanned twice.

    Parameters
    ----------
    volumes : mapping of str to sequence of float
        Subject -> volumes in mm^3 of its scans. Subjects with one scan are ignored.

    Examples
    --------
    >>> found = retest({"a": [100, 102], "b": [200, 198], "c": [50]})
    >>> found.subjects, found.scans, round(found.within_sd_mm3, 3), round(found.icc, 4)
    (2, 4, 1.414, 0.9996)
    """
    repeated = [np.asarray(scans, dtype=np.float64) for scans in volumes.values() if len(scans) > 1]
    if not repeated:
        return None
    sizes = np.array([len(scans) for scans in repeated])
    means = np.array([scans.mean() for scans in repeated])
    total, subjects = int(sizes.sum()), len(repeated)
    within = sum(float(((scans - scans.mean()) ** 2).sum()) for scans in repeated) / (total - subjects)
    spread = [float(scans.std(ddof=1)) / float(scans.mean()) for scans in repeated if scans.mean() > 0]
    cv = 100 * math.sqrt(float(np.mean(np.square(spread)))) if spread else math.nan
    icc = math.nan
    if subjects > 1:
        grand = float((means * sizes).sum() / total)
        between = float((sizes * (means - grand) ** 2).sum()) / (subjects - 1)
        k = (total - float((sizes**2).sum()) / total) / (subjects - 1)  # scans per subject, for unequal numbers
        scale = between + (k - 1) * within
        icc = (between - within) / scale if scale > 0 else math.nan
    sd = math.sqrt(within)
    return Retest(subjects, total, float(means.mean()), sd, cv, Z * math.sqrt(2) * sd, icc)
