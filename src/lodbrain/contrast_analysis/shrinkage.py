"""Empirical Bayes shrinkage: structures of few voxels borrow from structures of similar intensity.

References
----------
Variance between groups: DerSimonian and Laird, Controlled Clinical Trials 7 (1986) 177,
doi:10.1016/0197-2456(86)90046-2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lodbrain.contrast_analysis.sampling import Floats

#: Weight of the group's variance in the variance of a structure, in independent voxels.
PRIOR_VOXELS = 20.0


def shrunk_means(
    means: Floats, variances: Floats, counts: Floats, *, least_difference: float
) -> tuple[Floats, NDArray[np.float64]]:
    """Return means of a group of structures, each shrunk towards the group's mean by its uncertainty.

    Parameters
    ----------
    means, variances : (G,) float
        Mean and variance over the voxels of each structure.
    counts : (G,) float
        Independent voxels; a structure with none gets the mean of the group.
    least_difference : float
        Smallest standard deviation between the structures of a group.

    Returns
    -------
    means : (G,) float
    own : (G,) float
        Weight of each structure's own mean; the rest is the weight of the group's mean.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.array([1e6, 1e6, 0])
    >>> shrunk, own = shrunk_means(np.array([100.0, 110, 0]), np.full(3, 100.0), counts, least_difference=1)
    >>> shrunk.round(), own.round()
    (array([100., 110., 105.]), array([1., 1., 0.]))
    """
    known = counts > 0.5
    if not known.any():
        return means, np.zeros_like(means)
    error = variances / np.maximum(counts, 1e-9)  # squared standard error of each mean
    between = least_difference**2
    if known.sum() > 1:
        weight = 1 / error[known]
        centre = (weight * means[known]).sum() / weight.sum()
        scatter = (weight * (means[known] - centre) ** 2).sum() - (known.sum() - 1)
        between = max(between, scatter / (weight.sum() - (weight**2).sum() / weight.sum()))
    weight = np.where(known, 1 / (error + between), 0.0)
    centre = (weight * means).sum() / weight.sum()
    own = np.where(known, between / (between + error), 0.0)
    return own * means + (1 - own) * centre, own


def shrunk_variances(variances: Floats, counts: Floats) -> Floats:
    """Return variances within the structures of a group, (G,), each shrunk towards the group's by `PRIOR_VOXELS`."""
    total = counts.sum()
    pooled = (counts * variances).sum() / total if total > 0.5 else variances.mean()
    shrunk: Floats = (counts * variances + PRIOR_VOXELS * pooled) / (counts + PRIOR_VOXELS)
    return shrunk
