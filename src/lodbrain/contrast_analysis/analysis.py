"""Contrast of an unlabelled scan by expectation-maximisation of structures, partial volume and bias field.

A histogram alone cannot distinguish grey matter in a bright region from white matter in a dark one. Each voxel
therefore has the eroded posteriors of a model as its prior; intensities of structures, partial volume between them,
and a smooth bias field are fitted alternately until they converge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.contrast_analysis.bias_fit import BiasFit, LogField, strength_and_scale
from lodbrain.contrast_analysis.goodness import Histogram, check_fit, compare
from lodbrain.contrast_analysis.mixture import (
    DEEP,
    GROUP_POSITIONS,
    WHITE_MATTER,
    Mixture,
    Responsibilities,
    component_prior,
    expect,
    first_guess,
    maximise,
)
from lodbrain.contrast_analysis.noise_estimate import measure_background, noise_and_smoothness
from lodbrain.contrast_analysis.sampling import Floats, Samples, draw_samples
from lodbrain.errors import InputError
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS
from lodbrain.synthesis.profile import Air, BiasStatistics, NoiseStatistics

#: Intensity of white matter on the generator's scale, to which all scans are normalised.
WHITE_LEVEL = 160.0

MOST_ITERATIONS = 40

#: The fit has converged when no mean changes by more than this share of white matter.
TOLERANCE = 5e-4

#: Percentiles that describe the intensities of the head outside of the brain.
OUTSIDE_PERCENTILES = (2, 10, 20, 30, 40, 50, 60, 70, 80, 90, 98)
OUTSIDE_MARGIN_MM = 4.0


@dataclass(frozen=True, eq=False)
class ScanFit:
    """Result of the fit to one scan. Intensities are on a scale where cerebral white matter is 160.

    Attributes
    ----------
    volumes_ml : (19,) float64
        Volumes of the labels, by position in `SIDELESS`.
    field : LogField
        Log bias, of zero mean over the brain.
    bias, noise, background : BiasStatistics, NoiseStatistics, Air
        Statistics of the bias field, of the noise (measured in the background, else in the residuals), and of air.
        Noise and air are in units of white matter.
    spacing_mm : (3,) float64
        Voxel sides.
    outside : tuple of float
        Intensities of the head outside of the brain at `OUTSIDE_PERCENTILES`; empty for a skull-stripped scan.
    offset, unit : float
        Fitted intensity = (intensity in the file - offset) * unit / exp(log bias).
    """

    mixture: Mixture
    volumes_ml: Floats
    field: LogField
    bias: BiasStatistics
    noise: NoiseStatistics
    background: Air
    spacing_mm: Floats
    outside: tuple[float, ...]
    histogram: Histogram
    offset: float
    unit: float
    iterations: int


def analyse(
    data: NDArray[np.floating],
    spacing_mm: NDArray[np.floating],
    labels: NDArray[np.integer],
    posteriors: NDArray[np.floating] | None = None,
    *,
    name: str | None = None,
) -> ScanFit:
    """Fit the contrast of one scan.

    Parameters
    ----------
    data : (X, Y, Z) float
        Intensities.
    spacing_mm : (3,) float
        Voxel sides.
    labels : (X, Y, Z) int
        Classes, positions in `lodbrain.labels.STRUCTURES`.
    posteriors : (X, Y, Z, 33) float, optional
        Posteriors of all classes, as the spatial prior. Without them the labels are eroded and smoothed.
    name : str, optional
        Name of the file in errors.

    Raises
    ------
    InputError
        If no fit is possible, or it does not describe the scan.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.zeros((30, 30, 30), int)
    >>> labels[3:27, 3:27, 3:27], labels[8:22, 8:22, 8:22] = 2, 1  # cortex around white matter
    >>> scan = np.array([0.0, 200, 100])[labels] + rng.normal(0, 4, labels.shape)
    >>> fit = analyse(scan, np.full(3, 2.0), labels)
    >>> fit.mixture.means[1:3].round(-1)
    array([160.,  80.])
    """
    if data.shape != labels.shape:
        raise ValueError(f"labels must be on the scan's grid {data.shape}, got {labels.shape}")
    spacing = np.asarray(spacing_mm, np.float64)
    structure = SIDELESS_OF_CLASS[labels]
    if not (structure == WHITE_MATTER).any():
        raise InputError("no-white-matter", name, "no white matter is labelled in it", "Is this a head?")
    offset = _offset(data[structure > 0], data)
    data = data - np.float32(offset)
    white = float(np.median(data[structure == WHITE_MATTER]))
    if white <= 0:
        raise InputError("no-signal", name, "white matter has no signal in it", "Is this a scan of magnitudes?")
    data = data * np.float32(WHITE_LEVEL / white)
    background = measure_background(data, structure > 0, WHITE_LEVEL)
    masked = background.level if background.kind == "zero" else None
    samples = draw_samples(data, spacing, labels, posteriors, skip=masked)
    mixture, field, iterations = _fit(samples)
    values = samples.values / np.exp(field.at(samples.at_mm))
    histogram = compare(values, samples, component_prior(samples), mixture)
    check_fit(mixture, histogram, name=name)
    residual, inner = _residual(data, structure, field, spacing, mixture)
    measured = noise_and_smoothness(residual, inner, spacing)
    noise, fwhm_mm = measured or (float(mixture.sds[WHITE_MATTER]), 0.0)
    noise_from = "residuals"
    # Masked or denoised air shows less than half of the noise in tissue.
    if background.kind == "rician" and 0.5 * noise < background.level < 1.5 * noise:
        noise, noise_from = background.level, "background"
    # The unit is exact only after bias and partial volume have been estimated.
    unit = WHITE_LEVEL / float(mixture.means[WHITE_MATTER])
    return ScanFit(
        mixture=mixture.scaled(unit),
        volumes_ml=np.bincount(structure.ravel(), minlength=len(SIDELESS)) * float(spacing.prod()) / 1000,
        field=field,
        bias=BiasStatistics(*strength_and_scale(field, structure > 0, spacing)),
        noise=NoiseStatistics(noise * unit / WHITE_LEVEL, fwhm_mm, noise_from),
        background=Air(background.kind, background.level * unit / WHITE_LEVEL),
        spacing_mm=spacing,
        outside=_outside(data * np.float32(unit), structure > 0, spacing, background),
        histogram=histogram.scaled(unit),
        offset=offset,
        unit=unit * WHITE_LEVEL / white,
        iterations=iterations,
    )


def _fit(samples: Samples) -> tuple[Mixture, LogField, int]:
    """Alternate expectation, intensities and bias field until the means converge."""
    prior, bias = component_prior(samples), BiasFit(samples.at_mm)
    values = samples.values
    mixture = first_guess(values, samples)
    iteration = 0
    for iteration in range(1, MOST_ITERATIONS + 1):
        responsibilities = expect(values, samples, prior, mixture)
        step, precision = _bias_step(values, samples, responsibilities, mixture)
        bias.improve(step, precision, samples.weights)
        values = samples.values / np.exp(bias.values)
        before, mixture = mixture.means, maximise(values, samples, prior, responsibilities, mixture)
        change = np.nanmax(np.abs(mixture.means - before))
        if iteration > 3 and change < TOLERANCE * abs(mixture.means[WHITE_MATTER]):
            break
    return mixture, bias.field, iteration


def _bias_step(
    values: Floats, samples: Samples, responsibilities: Responsibilities, mixture: Mixture
) -> tuple[Floats, NDArray[np.float64]]:
    """Return the remaining log bias of each voxel, and the inverse of its variance.

    A pure voxel of structure k has intensity exp(step) m_k +- s_k, so that step = (y - m_k) / m_k +- s_k / m_k.
    Candidate structures are weighted by the responsibilities; partial volume is not used.
    """
    means = np.nan_to_num(mixture.means)[samples.classes]
    precision = responsibilities.pure / np.nan_to_num(mixture.sds, nan=1.0)[samples.classes] ** 2
    step_precision = (precision * means**2).sum(1)
    step: Floats = (precision * means * (values[:, None] - means)).sum(1) / np.maximum(step_precision, 1e-12)
    return step, step_precision


def _offset(brain: NDArray[np.floating], data: NDArray[np.floating]) -> float:
    """Return the offset that makes intensities start at 0: signed MP2RAGE images begin at -0.5, for example."""
    low, high = np.percentile(brain, [0.5, 99.5])
    return float(data.min()) if low < -0.05 * abs(high) else 0.0


def _residual(
    data: NDArray[np.floating], structure: NDArray[np.integer], field: LogField, spacing: Floats, mixture: Mixture
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return the residual of the fit in a box, and the mask of interior tissue in it from which noise is measured.

    The tissue is white matter or, where that is clipped and so without noise, deep grey matter.
    """
    positions = GROUP_POSITIONS[DEEP] if mixture.clipped else [WHITE_MATTER]
    chosen = np.isin(structure, positions)
    box = ndimage.find_objects(chosen.astype(np.uint8))[0] if chosen.any() else (slice(0, 1),) * 3
    start, within = tuple(part.start for part in box), structure[box]
    cross = ndimage.generate_binary_structure(3, 1)
    inner = np.any([ndimage.binary_erosion(within == position, cross) for position in positions], axis=0)
    corrected = data[box] / np.exp(field.on(within.shape, spacing, start))
    return corrected - np.nan_to_num(mixture.means)[within], inner


def _outside(
    data: NDArray[np.floating], brain: NDArray[np.bool_], spacing: Floats, background: Air
) -> tuple[float, ...]:
    """Return intensity percentiles of the head outside of the brain; empty if air looks like it, or it was removed."""
    if background.kind in ("mp2rage", "unknown"):
        return ()
    step = tuple(slice(None, None, max(1, round(2.0 / v))) for v in spacing)
    coarse, inside = data[step], brain[step]
    far = ~ndimage.binary_dilation(inside, iterations=max(1, round(OUTSIDE_MARGIN_MM / 2)))
    dark = 4 * background.level if background.kind == "rician" else background.level
    head = coarse[far & (coarse > dark + 0.03 * WHITE_LEVEL)]
    if head.size < 0.1 * inside.sum():
        return ()
    return tuple(float(value) for value in np.percentile(head, OUTSIDE_PERCENTILES))
