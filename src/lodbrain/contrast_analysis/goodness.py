"""Goodness of fit: comparison of the fitted with the observed histogram, and rejection of bad fits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lodbrain.contrast_analysis.mixture import (
    CORTEX,
    GROUP_POSITIONS,
    MOST_OUTLIERS,
    PAIRS,
    WHITE_MATTER,
    Mixture,
    Prior,
    mixed_density,
    normal_density,
)
from lodbrain.contrast_analysis.sampling import Floats, Samples
from lodbrain.errors import InputError

BINS = 128

#: Least numbers of pure voxels of cortex and of white matter for a fit.
FEWEST_VOXELS = 200

#: Least difference of white matter and cortex in standard deviations; below it, the labels do not match the scan.
LEAST_CONTRAST = 0.5

#: Largest coefficient of variation of bias-corrected white matter: with noise of 8% and more it is below 0.12.
MOST_SPREAD = 0.2

#: Largest Wasserstein distance of the fitted from the observed histogram, in units of the difference of white matter
#: and cortex.
MOST_MISMATCH = 0.15


@dataclass(frozen=True, eq=False)
class Histogram:
    """Densities over the bias-corrected intensities of the brain.

    Attributes
    ----------
    centres : (B,) float64
        Centres of the bins.
    observed : (B,) float64
        Density of the scan; sums to 1 over the bins.
    groups : dict of str to (B,) float64
        Fitted density of the pure voxels of each group of structures.
    mixed, other : (B,) float64
        Fitted density of partial volume and of voxels outside of all structures.
    """

    centres: Floats
    observed: Floats
    groups: dict[str, Floats]
    mixed: Floats
    other: Floats

    @property
    def fitted(self) -> Floats:
        """(B,) float64: sum of all fitted densities."""
        total: Floats = np.sum([*self.groups.values(), self.mixed, self.other], axis=0)
        return total

    def distance(self) -> float:
        """Wasserstein distance of fitted and observed density."""
        width = float(self.centres[1] - self.centres[0])
        fitted = self.fitted / self.fitted.sum()
        return float(np.abs(np.cumsum(self.observed - fitted)).sum()) * width

    def scaled(self, factor: float) -> Histogram:
        """Return the same histogram for intensities times a factor."""
        return replace(self, centres=self.centres * factor)


def compare(values: Floats, samples: Samples, prior: Prior, mixture: Mixture) -> Histogram:
    """Return the histogram of the samples and of the fitted mixture, with component weights from the labels alone.

    Parameters
    ----------
    values : (N,) float64
        Intensities, bias-corrected.
    """
    edges = np.linspace(float(np.quantile(values, 0.001)), float(np.quantile(values, 0.999)), BINS + 1)
    centres, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    total, n = samples.weights.sum(), len(mixture.means)
    outliers = prior.outliers(mixture)
    weights = samples.weights * (1 - outliers)
    means, sds = np.nan_to_num(mixture.means), np.nan_to_num(mixture.sds, nan=1.0)
    pure = np.bincount(samples.classes.ravel(), (prior.pure * weights[:, None]).ravel(), n) / total
    groups = {
        group: np.sum([pure[k] * normal_density(centres, means[k], sds[k]) for k in positions], axis=0) * width
        for group, positions in GROUP_POSITIONS.items()
    }
    meeting = np.zeros((n, n))
    for column, (a, b) in enumerate(PAIRS):
        pair = np.sort(samples.classes[:, [a, b]], axis=1)
        np.add.at(meeting, (pair[:, 0], pair[:, 1]), prior.mixed[:, column] * weights)
    mixed = np.zeros(BINS)
    for a, b in zip(*np.nonzero(meeting), strict=True):
        sd = np.sqrt((sds[a] ** 2 + sds[b] ** 2) / 2)
        mixed += meeting[a, b] / total * width * mixed_density(centres, means[a], means[b], sd)
    rest = float(prior.other @ weights + outliers @ samples.weights) / total
    other = np.full(BINS, rest * width / (mixture.high - mixture.low))
    observed = np.histogram(values, edges, weights=samples.weights)[0] / total
    return Histogram(centres, observed, groups, mixed, other)


def check_fit(mixture: Mixture, histogram: Histogram, *, name: str | None = None) -> None:
    """Raise if a fit does not describe the scan.

    Raises
    ------
    InputError
        ``"bad-fit"``, with the reason.
    """

    def refuse(what: str) -> None:
        raise InputError("bad-fit", name, what, "Inspect its segmentation, or give its labels with --labels")

    for position, tissue in ((WHITE_MATTER, "white matter"), (CORTEX, "cortex")):
        if not mixture.voxels[position] >= FEWEST_VOXELS:
            refuse(f"only {mixture.voxels[position]:.0f} voxels are surely {tissue}, {FEWEST_VOXELS} are needed")
    contrast = contrast_to_noise(mixture, WHITE_MATTER, CORTEX)
    if abs(contrast) < LEAST_CONTRAST:
        refuse(f"white matter and cortex do not differ (contrast-to-noise {contrast:.2f})")
    spread = float(mixture.sds[WHITE_MATTER] / mixture.means[WHITE_MATTER])
    if spread > MOST_SPREAD:
        refuse(f"what is labelled as white matter varies by {spread:.0%} of its mean, at most {MOST_SPREAD:.0%} may")
    if mixture.outliers >= 0.99 * MOST_OUTLIERS:
        refuse(f"{mixture.outliers:.0%} or more of the voxels near borders fit no structure")
    mismatch = relative_mismatch(mixture, histogram)
    if mismatch > MOST_MISMATCH:
        refuse(f"the fitted histogram is {mismatch:.2f} of the contrast of white and grey matter off")


def relative_mismatch(mixture: Mixture, histogram: Histogram) -> float:
    """Return the distance of fitted and observed histogram in units of the difference of white matter and cortex."""
    return histogram.distance() / abs(float(mixture.means[WHITE_MATTER] - mixture.means[CORTEX]))


def contrast_to_noise(mixture: Mixture, one: int, other: int) -> float:
    """Return the difference of two means over the root mean square of the standard deviations."""
    pooled = np.sqrt((mixture.sds[one] ** 2 + mixture.sds[other] ** 2) / 2)
    return float((mixture.means[one] - mixture.means[other]) / pooled)
