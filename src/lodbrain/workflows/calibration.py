"""Calibration of a model: temperature of every level, volume intervals, and their evaluation.

Scans are generated from label maps that the model was not trained on. The temperature is fitted on a third of them, the
width of the intervals on another third, and both are evaluated on the last third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.metric_files import write_json, write_tsv
from lodbrain.evaluation.reliability import Reliability, conformal_width, fit_temperature, reliability, sharpen
from lodbrain.inference.calibration import Calibration, relative_doubt, sideless, write_calibration
from lodbrain.inference.predict import Options, predict
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import TISSUE_OF_CLASS, Scheme
from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder
from lodbrain.report.reliability_figure import reliability_figure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Model
from lodbrain.segmentation.volumes import volumes
from lodbrain.synthesis.contrast import Contrasts
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.workflows.validation_scans import Drawn, Kind, draw_scan, validation_maps

#: Range of the scans' voxel sides over a level's nominal one, as in the level's use.
VOXELS = (0.75, 1.4)
#: T1w scans and a few others with the same order of tissues; or mostly scans with tissues in any order.
CONTRASTS: dict[Kind, Contrasts] = {
    "t1w": Contrasts(t1w_share=0.9, ordered_share=0.1),
    "any": Contrasts(t1w_share=0.2, ordered_share=0.1, any_order_share=0.7),
}
#: Margin around the true brain within which voxels are sampled: farther away, decisions are trivial.
DILATION_MM = 6.0
#: Number of voxels sampled per scan; neighbours are highly correlated.
VOXELS_PER_SCAN = 20_000
LEAST_DRAWS = 9
#: Smaller true volumes are left out: the structure is cut off by the field of view.
LEAST_MM3 = 50.0
_SCHEMES: tuple[Scheme, ...] = ("structures", "tissue", "brain")


@dataclass(frozen=True, eq=False)
class Judged:
    """Evaluation of a level's calibration on scans that it was not fitted on.

    Attributes
    ----------
    calibration : Calibration
    before, after : Reliability
        At a temperature of 1, and at the fitted one.
    covered : dict of str to list of bool
        By row of the volumes table, without sides: whether each true volume is in its interval.
    reach : dict of str to list of float
        By row: upper half-width of the interval as a share of the volume.
    refused : int
        Number of scans in which no brain was found.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    covered: dict[str, list[bool]]
    reach: dict[str, list[float]]
    refused: int

    def coverage(self, names: Sequence[str] | None = None) -> float:
        """Return the share of true volumes that are in their intervals, of some rows or of all."""
        kept = [hit for name, hits in self.covered.items() if names is None or name in names for hit in hits]
        return float(np.mean(kept)) if kept else float("nan")


def calibrate(
    out: str | PathLike[str],
    n: int,
    model: Model,
    *,
    maps: Sequence[str | PathLike[str]] = (),
    contrasts: Kind = "t1w",
    coverage: float = 0.9,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[int, Judged]:
    """Fit and evaluate the calibration of every level of a ladder, and write the calibrated model.

    Parameters
    ----------
    out : path
        Folder for ``calibration.json``, ``intervals.tsv``, ``reliability.png``, and the model with its new card.
    n : int
        Number of scans for the finest level; each coarser one, whose scans are smaller, uses twice as many.
    model : Model
        A ladder.
    maps : sequence of path
        Label maps; by default the four published ones that are reserved for validation.
    contrasts : {"t1w", "any"}
        Contrasts of the scans: those that the model is made for.
    coverage : float
        Nominal coverage of the volume intervals.
    seed : int
    progress : callable, optional

    Returns
    -------
    dict of int to Judged
        By exponent of the level.

    Raises
    ------
    UsageError
        If the model is not a ladder, there are too few scans, or the coverage is not between 0 and 1.
    InputError
        If a label map is missing or not valid, or too few scans were segmented.
    OutputError
        If the folder cannot be written to.
    """
    if not isinstance(model.network, Ladder):
        raise UsageError("model", None, f"model {model.card.name} is no ladder", "Name one, such as default")
    if n < LEAST_DRAWS:
        raise UsageError("draws", None, f"{n} draws are too few", f"Take {LEAST_DRAWS} or more; some tens are better")
    if not 0 < coverage < 1:
        raise UsageError("coverage", None, f"a coverage of {coverage:g} cannot be had", "Give one between 0 and 1")
    folder = Path(out)
    check_writable(folder)
    paths = validation_maps(maps)
    loaded: dict[Path, LabelMap] = {}
    levels = [config.exponent for config in model.network.configs]
    judged = {}
    for place, exponent in enumerate(levels):
        count = n * 2 ** (len(levels) - 1 - place)

        def draw(number: int, exponent: int = exponent, place: int = place, count: int = count) -> Drawn:
            share = (place + number / count) / len(levels)
            progress(share, f"{2.0**exponent:g} mm, scan {number + 1} of {count}")
            path = paths[number % len(paths)]
            if path not in loaded:
                loaded[path] = load(path)
            low, high = (share * 2.0**exponent for share in VOXELS)
            random = torch.Generator().manual_seed((seed * 1000 + exponent + 500) * 10**5 + number)
            return draw_scan(loaded[path], random, voxel_mm=(low, high), contrasts=CONTRASTS[contrasts])

        judged[exponent] = _level(draw, count, model, exponent, coverage, seed)
    _write(folder, model, judged)
    return judged


def _level(draw: Callable[[int], Drawn], n: int, model: Model, exponent: int, coverage: float, seed: int) -> Judged:
    """Fit and evaluate one level on the scans 0 to n - 1."""
    third = n // 3
    plain = Calibration(coverage=coverage)
    samples, refused = [], 0
    for number in range(third):
        drawn = draw(number)
        found = _predict(drawn, model, exponent, plain, posteriors=True)
        if found is None:
            refused += 1
        else:
            samples.append(_sample(found, drawn, seed=number))
    if not samples:
        raise InputError("too-few", None, f"no scan of {2.0**exponent:g} mm was segmented", "Take more draws")
    log_p, truth = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    tempered = replace(plain, temperature=fit_temperature(log_p, truth))
    residuals: dict[str, list[float]] = {}
    for number in range(third, 2 * third):
        drawn = draw(number)
        found = _predict(drawn, model, exponent, tempered, posteriors=False)
        if found is None:
            refused += 1
            continue
        for name, volume, doubt, true in _volumes(found, drawn):
            residuals.setdefault(sideless(name), []).append(abs(np.log(true / volume)) / relative_doubt(volume, doubt))
    widths = {name: conformal_width(np.array(values), coverage) for name, values in residuals.items()}
    calibration = replace(tempered, widths={name: width for name, width in widths.items() if np.isfinite(width)})
    covered: dict[str, list[bool]] = {}
    reach: dict[str, list[float]] = {}
    samples = []
    for number in range(2 * third, n):
        drawn = draw(number)
        found = _predict(drawn, model, exponent, calibration, posteriors=True)
        if found is None:
            refused += 1
            continue
        samples.append(_sample(found, drawn, seed=number))
        for name, volume, doubt, true in _volumes(found, drawn):
            if (interval := calibration.interval(name, volume, doubt)) is not None:
                covered.setdefault(sideless(name), []).append(interval[0] <= true <= interval[1])
                reach.setdefault(sideless(name), []).append(interval[1] / volume - 1)
    if not samples:
        raise InputError("too-few", None, f"no scan of {2.0**exponent:g} mm was segmented", "Take more draws")
    log_p, truth = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    return Judged(
        calibration,
        # Decisions do not depend on the temperature; only their posteriors do.
        _reliability(sharpen(log_p, 1 / calibration.temperature), truth),
        _reliability(log_p, truth),
        covered,
        reach,
        refused,
    )


def _predict(
    drawn: Drawn, model: Model, exponent: int, calibration: Calibration, *, posteriors: bool
) -> Prediction | None:
    """Return the prediction with a calibration of a level; None if no brain is found."""
    card = replace(model.card, calibration=write_calibration({exponent: calibration}))
    try:
        return predict(
            drawn.image.numpy(),
            drawn.spacing_mm,
            card=card,
            network=model.network,
            options=Options(device=model.device, posteriors=posteriors),
        )
    except InputError:
        return None


def _sample(found: Prediction, drawn: Drawn, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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


def _volumes(found: Prediction, drawn: Drawn) -> list[tuple[str, float, float, float]]:
    """Return name, sum of posteriors, posterior variance and true volume of every measurable row of all tables."""
    assert found.doubt_vox is not None
    voxel_mm3 = float(np.prod(drawn.spacing_mm))
    rows = []
    for scheme in _SCHEMES:
        tables = [
            volumes(found.classes, vox, model_labels="structures", scheme=scheme, voxel_volume_mm3=voxel_mm3)
            for vox in (found.soft_volume_vox, found.doubt_vox, drawn.volume_vox)
        ]
        for volume, doubt, truth in zip(*tables, strict=True):
            if truth.soft_volume_mm3 >= LEAST_MM3 and volume.soft_volume_mm3 > 0:
                rows.append((volume.name, volume.soft_volume_mm3, doubt.soft_volume_mm3, truth.soft_volume_mm3))
    return list(dict.fromkeys(rows))  # the brain's sum is in every table


def _write(folder: Path, model: Model, judged: Mapping[int, Judged]) -> Card:
    """Write the tables, the figure, and the model with its new card."""
    content = {}
    rows = []
    for exponent, found in judged.items():
        content[str(exponent)] = {
            "temperature": found.calibration.temperature,
            "expected_calibration_error": {"before": found.before.error, "after": found.after.error},
            "voxels": int(found.after.count.sum()),
            "coverage": {"aimed at": found.calibration.coverage, "found": found.coverage()},
            "refused": found.refused,
        }
        for name, hits in found.covered.items():
            width, reach = found.calibration.widths[name], float(np.median(found.reach[name]))
            rows.append((2.0**exponent, name, len(hits), float(np.mean(hits)), reach, width))
    write_json(folder / "calibration.json", content)
    write_tsv(folder / "intervals.tsv", ("level_mm", "name", "n", "coverage", "median_reach", "width"), rows)
    title = f"{model.card.name}: certainty and truth"
    panels = {f"{2.0**exponent:g} mm": (found.before, found.after) for exponent, found in judged.items()}
    reliability_figure(panels, folder / "reliability.png", title=title)
    calibrations = {exponent: found.calibration for exponent, found in judged.items()}
    card = replace(model.card, file=f"{model.card.name}.safetensors", calibration=write_calibration(calibrations))
    return zoo.save_with_card(folder / card.file, card, model.network.state_dict())
