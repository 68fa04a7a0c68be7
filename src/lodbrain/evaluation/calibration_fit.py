"""Fit of a level's temperature and volume intervals on synthetic scans, and their evaluation on others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError
from lodbrain.evaluation.reliability import Reliability, at_temperature, conformal_width, fit_temperature, reliability
from lodbrain.evaluation.validation_scans import ValidationScan
from lodbrain.inference.calibration import Calibration, relative_variance, sideless, write_calibration
from lodbrain.inference.predict import Options, predict
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import TISSUE_OF_CLASS, Scheme
from lodbrain.segmentation.settings import Model
from lodbrain.segmentation.volume_table import volumes

#: Margin around the true brain within which voxels are sampled: farther away, decisions are trivial.
DILATION_MM = 6.0

#: Number of voxels sampled per scan; neighbours are highly correlated.
VOXELS_PER_SCAN = 20_000

#: Smaller true volumes are left out: the structure is cut off by the field of view.
LEAST_MM3 = 50.0
_SCHEMES: tuple[Scheme, ...] = ("structures", "tissue", "brain")


@dataclass(frozen=True, eq=False)
class Judged:
    """Evaluation of a level's calibration on scans that it was not fitted on.

    Attributes
    ----------
    before, after : Reliability
        At a temperature of 1, and at the fitted one.
    covered : dict of str to list of bool
        By row of the volumes table, without sides: whether each true volume is in its interval.
    reach : dict of str to list of float
        By row: upper half-width of the interval as a share of the volume.
    refused : int
        Number of scans in which no brain was found, or in which a consensus left its second member out.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    covered: dict[str, list[bool]]
    reach: dict[str, list[float]]
    refused: int

    def coverage(self) -> float:
        """Return the share of true volumes that are in their intervals."""
        kept = [hit for hits in self.covered.values() for hit in hits]
        return float(np.mean(kept)) if kept else float("nan")


def fit_level(draw: Callable[[int], ValidationScan], n: int, model: Model, exponent: int, coverage: float) -> Judged:
    """Fit and evaluate one level on the scans 0 to n - 1."""
    third, refused = n // 3, 0

    def predictions(
        numbers: range, calibration: Calibration, *, posteriors: bool
    ) -> Iterator[tuple[int, ValidationScan, Prediction]]:
        nonlocal refused
        for number in numbers:
            drawn = draw(number)
            if (found := _predict(drawn, model, exponent, calibration, posteriors=posteriors)) is None:
                refused += 1
            else:
                yield number, drawn, found

    def join(samples: list[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> list[NDArray[Any]]:
        if not samples:
            raise InputError("too-few", None, f"no scan of {2.0**exponent:g} mm was segmented", "Take more draws")
        return [np.concatenate(parts) for parts in zip(*samples, strict=True)]

    plain = Calibration(coverage=coverage)
    first = predictions(range(third), plain, posteriors=True)
    log_p, truth = join([_sample(found, drawn, seed=number) for number, drawn, found in first])
    tempered = replace(plain, temperature=fit_temperature(log_p, truth))
    residuals: dict[str, list[float]] = {}
    for _, drawn, found in predictions(range(third, 2 * third), tempered, posteriors=False):
        for name, volume, variance, true in _volumes(found, drawn):
            residuals.setdefault(sideless(name), []).append(
                abs(np.log(true / volume)) / relative_variance(volume, variance)
            )
    widths = {name: conformal_width(np.array(values), coverage) for name, values in residuals.items()}
    calibration = replace(tempered, widths={name: width for name, width in widths.items() if np.isfinite(width)})
    covered: dict[str, list[bool]] = {}
    reach: dict[str, list[float]] = {}
    samples = []
    for number, drawn, found in predictions(range(2 * third, n), calibration, posteriors=True):
        samples.append(_sample(found, drawn, seed=number))
        for name, volume, variance, true in _volumes(found, drawn):
            if (interval := calibration.interval(name, volume, variance)) is not None:
                covered.setdefault(sideless(name), []).append(interval[0] <= true <= interval[1])
                reach.setdefault(sideless(name), []).append(interval[1] / volume - 1)
    log_p, truth = join(samples)
    # Decisions do not depend on the temperature; only their posteriors do.
    before = _reliability(at_temperature(log_p, 1 / calibration.temperature), truth)
    return Judged(calibration, before, _reliability(log_p, truth), covered, reach, refused)


def _predict(
    drawn: ValidationScan, model: Model, exponent: int, calibration: Calibration, *, posteriors: bool
) -> Prediction | None:
    """Return the prediction with a calibration of a level.

    None if no brain is found, or if a consensus leaves its second member out, so that the ladder's own one is used.
    """
    card = replace(model.card, calibration=write_calibration({exponent: calibration}))
    try:
        found = predict(
            drawn.image.numpy(),
            drawn.spacing_mm,
            card=card,
            network=model.network,
            options=Options(device=model.device, posteriors=posteriors),
        )
    except InputError:
        return None
    return found if found.quality.get("second_weight", 1.0) else None


def _sample(found: Prediction, drawn: ValidationScan, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return log posteriors (n, 33) and true class (n,) of voxels in and around the true brain."""
    assert found.posteriors is not None
    truth = drawn.classes.numpy()
    brain = np.asarray(TISSUE_OF_CLASS)[truth] > 0
    around = tuple(
        slice(max(0, side.start - math.ceil(DILATION_MM / v)), side.stop + math.ceil(DILATION_MM / v))
        for side, v in zip(ndimage.find_objects(brain.astype(np.uint8))[0], drawn.spacing_mm, strict=True)
    )
    truth, posteriors = truth[around], found.posteriors[(slice(None), *around)]
    away = ndimage.distance_transform_edt(~brain[around], drawn.spacing_mm)
    places = np.flatnonzero(away <= DILATION_MM)
    places = np.random.default_rng(seed).choice(places, min(VOXELS_PER_SCAN, len(places)), replace=False)
    p = posteriors.reshape(len(posteriors), -1)[:, places].T.astype(np.float32)
    return np.log(np.maximum(p, 6e-8)), truth.ravel()[places].astype(np.int64)  # least half-precision value


def _reliability(log_p: NDArray[np.floating], truth: NDArray[np.int64]) -> Reliability:
    best = log_p.argmax(1)
    return reliability(np.exp(log_p[np.arange(len(best)), best]), best == truth)


def _volumes(found: Prediction, drawn: ValidationScan) -> list[tuple[str, float, float, float]]:
    """Return name, sum of posteriors, posterior variance and true volume of every measurable row of all tables."""
    assert found.variance_vox is not None
    voxel_mm3 = float(np.prod(drawn.spacing_mm))
    rows = []
    for scheme in _SCHEMES:
        tables = [
            volumes(found.classes, vox, model_labels="structures", scheme=scheme, voxel_volume_mm3=voxel_mm3)
            for vox in (found.soft_volume_vox, found.variance_vox, drawn.volume_vox)
        ]
        for volume, variance, truth in zip(*tables, strict=True):
            if truth.soft_volume_mm3 >= LEAST_MM3 and volume.soft_volume_mm3 > 0:
                rows.append((volume.name, volume.soft_volume_mm3, variance.soft_volume_mm3, truth.soft_volume_mm3))
    return list(dict.fromkeys(rows))  # the brain's sum is in every table
