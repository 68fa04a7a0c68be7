"""Mixture model of pure structures, partial volume between neighbours, and outliers.

A voxel whose neighbourhood certainly belongs to structure a follows N(m_a, s_a). At a border a voxel is either pure or
holds a share t of a and 1 - t of b, with t uniform: then its intensity is uniform between m_a and m_b, blurred by the
noise, ::

    p(y) = (Phi((y - low) / s) - Phi((y - high) / s)) / (high - low),   s^2 = (s_a^2 + s_b^2) / 2

with low and high the smaller and the larger of the two means.

References
----------
Partial volume with a uniform share: Santago and Gage, IEEE Transactions on Image Processing 4 (1995) 1531,
doi:10.1109/83.469934.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from lodbrain.contrast_analysis.sampling import Floats, Samples
from lodbrain.contrast_analysis.shrinkage import shrunk_means, shrunk_variances
from lodbrain.labels import SIDELESS

WHITE, GREY, FLUID, DEEP = "white", "grey", "fluid", "deep grey"

#: Groups of structures of similar intensity: estimates from few pure voxels are shrunk towards the group.
GROUPS: dict[str, tuple[str, ...]] = {
    WHITE: ("Cerebral-White-Matter", "Cerebellum-White-Matter", "Brain-Stem"),
    GREY: ("Cerebral-Cortex", "Cerebellum-Cortex", "Hippocampus", "Amygdala"),
    DEEP: ("Thalamus", "Caudate", "Putamen", "Pallidum", "Accumbens-area", "VentralDC"),
    FLUID: ("Lateral-Ventricle", "Inf-Lat-Vent", "3rd-Ventricle", "4th-Ventricle", "CSF"),
}
POSITION = {name: position for position, name in enumerate(SIDELESS)}
GROUP_POSITIONS = {group: np.array([POSITION[name] for name in names]) for group, names in GROUPS.items()}
WHITE_MATTER, CORTEX = POSITION["Cerebral-White-Matter"], POSITION["Cerebral-Cortex"]

PAIRS = ((0, 1), (0, 2), (1, 2))

#: Share of pure voxels near a border: one layer on each side counts as near, and half of one is mixed.
PURE_AT_BORDER = 0.5

#: Voxels per independent voxel: anatomy and its errors are correlated over a few voxels.
CORRELATED = 8.0

#: Least standard deviation of a structure, and of means within a group, in units of white matter.
LEAST_SD, LEAST_DIFFERENCE = 0.005, 0.01

#: White matter is clipped, as by FreeSurfer at 110, if at least this share of it has one value; its standard deviation
#: is then at least this. Otherwise the fit would collapse to that value and call the rest outliers.
CLIPPED_SHARE, CLIPPED_SD = 0.2, 0.03

#: Share of outliers among voxels with a certain neighbourhood; a larger one would cut off the tails of non-Gaussian
#: tissue, such as white matter clipped at its peak. Near borders the share is fitted, starting from 1%.
OUTLIERS_INSIDE, OUTLIERS, MOST_OUTLIERS = 0.001, 0.01, 0.5


@dataclass(frozen=True, eq=False)
class Mixture:
    """Intensities of the structures, by position in `SIDELESS`; NaN for those absent from the scan.

    Attributes
    ----------
    means, sds : (19,) float64
        Means and standard deviations of pure voxels.
    voxels : (19,) float64
        Number of pure voxels of each structure.
    own : (19,) float64
        Weight of the structure's own mean against its group's, 0 to 1.
    outliers : float
        Share of outliers among voxels near borders: vessels, membranes, wrong labels.
    low, high : float
        Range over which outliers are uniform.
    least_sd : float
        Lower limit of the standard deviations.
    clipped : bool
        Whether a large share of white matter has a single value.
    """

    means: Floats
    sds: Floats
    voxels: Floats
    own: Floats
    outliers: float
    low: float
    high: float
    least_sd: float
    clipped: bool

    def scaled(self, factor: float) -> Mixture:
        """Return the same mixture for intensities times a factor."""
        scaled = {name: getattr(self, name) * factor for name in ("means", "sds", "low", "high", "least_sd")}
        return replace(self, **scaled)


@dataclass(frozen=True, eq=False)
class Prior:
    """Prior probability of each component in each sample; pure, mixed and other sum to 1 (outliers are in addition).

    Attributes
    ----------
    pure, mixed : (N, 3) float64
        Probabilities of the candidates, and of the `PAIRS` of candidates.
    other : (N,) float64
        Probability of no structure.
    border : (N,) float64
        Proximity to a border: the probability removed by erosion.
    """

    pure: Floats
    mixed: Floats
    other: Floats
    border: Floats

    def outliers(self, mixture: Mixture) -> Floats:
        """(N,): probability of an outlier."""
        share: Floats = self.border * mixture.outliers + (1 - self.border) * OUTLIERS_INSIDE
        return share


@dataclass(frozen=True, eq=False)
class Responsibilities:
    """Posterior probability of each component in each sample, as in `Prior`."""

    pure: Floats
    mixed: Floats


def component_prior(samples: Samples) -> Prior:
    """Split the prior of the labels into pure voxels and partial volume.

    What remains after erosion is pure. Half of the rest is pure, and half is mixed from the pairs of candidates.
    """
    structure = samples.classes > 0
    border = np.clip(1 - samples.pure.sum(1), 0, 1)
    meet = np.stack(
        [samples.shares[:, a] * samples.shares[:, b] * structure[:, a] * structure[:, b] for a, b in PAIRS], axis=1
    )
    total = meet.sum(1)
    mixed_share = np.where(total > 1e-6, (1 - PURE_AT_BORDER) * border, 0.0)
    pure = samples.pure + (border - mixed_share)[:, None] * samples.shares
    mixed = meet * (mixed_share / np.maximum(total, 1e-6))[:, None]
    return Prior(np.where(structure, pure, 0.0), mixed, np.where(structure, 0.0, pure).sum(1), border)


def first_guess(values: Floats, samples: Samples) -> Mixture:
    """Return medians and spreads of the voxels that remain after erosion, or of all voxels where these are too few."""
    n = len(SIDELESS)
    means, sds, count = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    likeliest, core = samples.classes[:, 0], samples.pure[:, 0]
    for position in range(1, n):
        of_it = likeliest == position
        inner = of_it & (core > 0.5)
        chosen = values[inner if inner.sum() >= 30 else of_it]
        if chosen.size:
            low, means[position], high = np.percentile(chosen, [16, 50, 84])
            sds[position], count[position] = (high - low) / 2, inner.sum()
    unit = abs(means[WHITE_MATTER])
    white = np.unique(values[likeliest == WHITE_MATTER], return_counts=True)[1]
    clipped = bool(white.max() > CLIPPED_SHARE * white.sum())
    least_sd = float(unit * (CLIPPED_SD if clipped else LEAST_SD))
    sds = np.maximum(sds, least_sd)
    low, high = np.percentile(values, [0.1, 99.9])
    return Mixture(
        means, sds, count, np.ones(n), OUTLIERS, float(low), float(max(high, low + unit / 100)), least_sd, clipped
    )


def expect(values: Floats, samples: Samples, prior: Prior, mixture: Mixture) -> Responsibilities:
    """Return the responsibilities of the components for each voxel.

    Parameters
    ----------
    values : (N,) float64
        Intensities, bias-corrected.
    """
    even = np.where((values >= mixture.low) & (values <= mixture.high), 1 / (mixture.high - mixture.low), 1e-12)
    means, sds = np.nan_to_num(mixture.means), np.nan_to_num(mixture.sds, nan=1.0)
    outliers = prior.outliers(mixture)
    known = 1 - outliers
    pure = known[:, None] * prior.pure * normal_density(values[:, None], means[samples.classes], sds[samples.classes])
    first, second = (samples.classes[:, list(side)] for side in zip(*PAIRS, strict=True))
    sd = np.sqrt((sds[first] ** 2 + sds[second] ** 2) / 2)
    mixed = known[:, None] * prior.mixed * mixed_density(values[:, None], means[first], means[second], sd)
    other = (outliers + known * prior.other) * even
    total = np.maximum(pure.sum(1) + mixed.sum(1) + other, 1e-300)
    return Responsibilities(pure / total[:, None], mixed / total[:, None])


def maximise(values: Floats, samples: Samples, prior: Prior, found: Responsibilities, mixture: Mixture) -> Mixture:
    """Return means and spreads of the pure voxels; uncertain ones are shrunk towards their group."""
    n = len(SIDELESS)
    classes, share = samples.classes.ravel(), (found.pure * samples.weights[:, None]).ravel()
    y = np.repeat(values, samples.classes.shape[1])
    count = np.bincount(classes, share, n)
    safe = np.maximum(count, 1e-9)
    means = np.bincount(classes, share * y, n) / safe
    variances = np.bincount(classes, share * (y - means[classes]) ** 2, n) / safe
    present = np.isfinite(mixture.means)
    unit = abs(means[WHITE_MATTER])
    own = np.ones(n)
    effective = count / CORRELATED
    for positions in GROUP_POSITIONS.values():
        group = positions[present[positions]]
        if group.size:
            variances[group] = shrunk_variances(variances[group], effective[group])
            variances[group] = np.maximum(variances[group], mixture.least_sd**2)
            means[group], own[group] = shrunk_means(
                means[group], variances[group], effective[group], least_difference=LEAST_DIFFERENCE * unit
            )
    at_border = samples.weights * prior.border
    fits = (found.pure.sum(1) + found.mixed.sum(1)) @ at_border / max(at_border.sum(), 1e-9)
    return replace(
        mixture,
        means=np.where(present, means, np.nan),
        sds=np.where(present, np.sqrt(variances), np.nan),
        voxels=np.where(present, count, 0.0),
        own=own,
        outliers=float(np.clip(1 - fits, 1e-3, MOST_OUTLIERS)),
    )


def normal_density(y: Floats, mean: Floats, sd: Floats) -> Floats:
    """Return the density of pure voxels."""
    density: Floats = np.exp(-0.5 * ((y - mean) / sd) ** 2) / (np.sqrt(2 * np.pi) * sd)
    return density


def mixed_density(y: Floats, one: Floats, other: Floats, sd: Floats) -> Floats:
    """Return the density of voxels that hold two structures, with uniform shares.

    Examples
    --------
    >>> import numpy as np
    >>> float(mixed_density(np.array([50.0]), np.array([0.0]), np.array([100.0]), np.array([1.0]))[0])
    0.01
    """
    low, high = np.minimum(one, other), np.maximum(one, other)
    width = high - low
    apart = width > 0.1 * sd
    even = (ndtr((y - low) / sd) - ndtr((y - high) / sd)) / np.where(apart, width, 1.0)
    return np.where(apart, even, normal_density(y, (low + high) / 2, sd))
