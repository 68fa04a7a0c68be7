"""Is a model as sure as it may be: a temperature for every level, intervals for volumes, and what both are worth.

Scans are drawn from label maps that the model was not trained on. A third of them gives the temperature, a third the
widths of the intervals, and what comes of both is measured on the last third.
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

#: Voxel sides that are drawn for a level, over its nominal one: what it is used for.
VOXELS = (0.75, 1.4)
#: T1w scans, and a few of other contrasts in which tissues keep that order; or, mostly, tissues in any order.
CONTRASTS: dict[Kind, Contrasts] = {
    "t1w": Contrasts(t1w_share=0.9, ordered_share=0.1),
    "any": Contrasts(t1w_share=0.2, ordered_share=0.1, any_order_share=0.7),
}
#: Around the true brain: where a decision is neither trivial nor beside the point.
DILATION_MM = 6.0
#: Voxels of a scan that are looked at; neighbours say much the same.
VOXELS_PER_SCAN = 20_000
LEAST_DRAWS = 9
#: A true volume below this is nothing to measure an interval by: the structure is cut off.
LEAST_MM3 = 50.0
_SCHEMES: tuple[Scheme, ...] = ("structures", "tissue", "brain")


@dataclass(frozen=True, eq=False)
class Judged:
    """What a calibration of a level is worth, on scans that it was not fitted on.

    Attributes
    ----------
    calibration : Calibration
    before, after : Reliability
        At a temperature of 1, and at the fitted one.
    covered : dict of str to list of bool
        By row of the volumes table, sides left out: whether each true volume lay in its interval.
    reach : dict of str to list of float
        By row: how far the interval goes up, as a share of the volume.
    refused : int
        Scans in which no brain was found.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    covered: dict[str, list[bool]]
    reach: dict[str, list[float]]
    refused: int

    def coverage(self, names: Sequence[str] | None = None) -> float:
        """Share of the true volumes that lay in their intervals, of some rows or of all."""
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
    """Fit and judge the calibration of every level of a ladder, and write the model with it.

    Parameters
    ----------
    out : path
        Folder for ``calibration.json``, ``intervals.tsv``, ``reliability.png``, and the model with its new card.
    n : int
        Scans for the finest level; each coarser one, whose scans take less, gets twice as many.
    model : Model
        A ladder.
    maps : sequence of path
        Label maps; none for the four published ones that are kept for validation.
    contrasts : {"t1w", "any"}
        Of the scans: what the model is for.
    coverage : float
        Share of true volumes that the intervals are to hold.
    seed : int
    progress : callable, optional

    Returns
    -------
    dict of int to Judged
        By the exponent of the level.

    Raises
    ------
    UsageError
        If the model is no ladder, there are too few draws, or the coverage is not between 0 and 1.
    InputError
        If a label map is missing or refused, or too few scans were segmented.
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
    """Fit and judge one level on the scans 0 to n - 1."""
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
        # What was decided stays the same at every temperature; only how sure it is changes.
        _reliability(sharpen(log_p, 1 / calibration.temperature), truth),
        _reliability(log_p, truth),
        covered,
        reach,
        refused,
    )


def _predict(
    drawn: Drawn, model: Model, exponent: int, calibration: Calibration, *, posteriors: bool
) -> Prediction | None:
    """The prediction with a calibration of a level; None if no brain is found."""
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
    """Log posteriors (n, 33) and true class (n,) of voxels in and around the true brain."""
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
    return np.log(np.maximum(p, 6e-8)), truth.ravel()[places].astype(np.int64)  # half precision ends at 6e-8


def _reliability(log_p: NDArray[np.floating], truth: NDArray[np.int64]) -> Reliability:
    best = log_p.argmax(1)
    return reliability(np.exp(log_p[np.arange(len(best)), best]), best == truth)


def _volumes(found: Prediction, drawn: Drawn) -> list[tuple[str, float, float, float]]:
    """Name, sum of posteriors, doubt and true volume, in mm^3, of every row of every table that is there to measure."""
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
    return list(dict.fromkeys(rows))  # the sum of the brain is in every table


def _write(folder: Path, model: Model, judged: Mapping[int, Judged]) -> Card:
    """The tables, the figure, and the model with its new card."""
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
