"""`lodbrain evaluate calibration`: calibration of a model's posteriors and of its volume intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter

from lodbrain.commands.console import progress_bar
from lodbrain.commands.parameters import Out
from lodbrain.commands.validation_options import ValidationOptions
from lodbrain.errors import UsageError
from lodbrain.evaluation.calibration_fit import Judged, fit_level
from lodbrain.evaluation.validation_scans import Kind, ValidationScan, draw_scan, validation_maps
from lodbrain.inference.calibration import write_calibration
from lodbrain.inference.second_opinion import ASKED_MM
from lodbrain.models import zoo
from lodbrain.models.consensus import ladder_in
from lodbrain.report.validation_figures import reliability_figure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Model
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import load
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import write_json, write_tsv


def calibration(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 72,
    coverage: float = 0.9,
    options: ValidationOptions | None = None,
) -> int:
    """Fit a temperature and volume intervals for every level of a model, and evaluate both.

    The temperature is fitted on a third of the scans, the intervals on another, and both are evaluated on the rest. The
    folder contains calibration.json, intervals.tsv, reliability.png, and the calibrated model for --model. Of accurate,
    the finest level is calibrated, on scans that LOD-Brain takes part in, and the card is written.

    Parameters
    ----------
    out
        Write the results to this folder.
    draws
        Generate this number of synthetic scans for the finest level; each coarser level uses twice as many.
    coverage
        Fit volume intervals that contain this share of the true volumes.
    """
    options = options or ValidationOptions()
    loaded = options.load()
    with progress_bar(show=not options.quiet) as progress:
        found = calibrate(out, draws, loaded, options, coverage=coverage, progress=progress)
    if not options.quiet:
        for exponent, one in found.items():
            print(
                f"{2.0**exponent:g} mm: temperature {one.calibration.temperature:.3f}, expected calibration error "
                f"{one.before.error:.4f} -> {one.after.error:.4f}; {one.coverage():.1%} of the true volumes lie in "
                f"their {coverage:.0%} intervals"
            )
        print(f"{out}: calibration.json, intervals.tsv, reliability.png, {zoo.file_name(loaded.card)}")
    return 0


#: Range of the scans' voxel sides over a level's nominal one, as in the level's use.
VOXELS = (0.75, 1.4)

#: T1w scans and a few others with the same order of tissues; or mostly scans with tissues in any order.
CONTRASTS: dict[Kind, Contrasts] = {
    "t1w": Contrasts(t1w_share=0.9, ordered_share=0.1),
    "any": Contrasts(t1w_share=0.2, ordered_share=0.1, any_order_share=0.7),
}
LEAST_DRAWS = 9


def calibrate(
    out: Path,
    draws: int,
    model: Model,
    options: ValidationOptions,
    *,
    coverage: float = 0.9,
    progress: Progress = silent,
) -> dict[int, Judged]:
    """Fit and evaluate the calibration of a model's levels, and write the files; return them by exponent of the level.

    Of a consensus, the finest level is calibrated. The other parameters are the options of `calibration`.

    Raises
    ------
    UsageError
        If the model has no ladder, there are too few scans, or the coverage is not between 0 and 1.
    InputError
        If a label map is missing or not valid, or too few scans were segmented.
    """
    ladder = ladder_in(model.network)
    if ladder is None:
        raise UsageError("model", None, f"model {model.card.name} is no ladder", "Name one, such as default")
    if draws < LEAST_DRAWS:
        hint = f"Take {LEAST_DRAWS} or more; some tens are better"
        raise UsageError("draws", None, f"{draws} draws are too few", hint)
    if not 0 < coverage < 1:
        raise UsageError("coverage", None, f"a coverage of {coverage:g} cannot be had", "Give one between 0 and 1")
    check_writable(out)
    paths, read = validation_maps(options.maps or ()), cache(load)
    levels, voxels = [config.exponent for config in ladder.configs], VOXELS
    if ladder is not model.network:
        levels, voxels = levels[-1:], ASKED_MM
    judged = {}
    for place, exponent in enumerate(levels):
        count = draws * 2 ** (len(levels) - 1 - place)  # scans of coarser levels are smaller

        def draw(number: int, exponent: int = exponent, place: int = place, count: int = count) -> ValidationScan:
            share = (place + number / count) / len(levels)
            progress(share, f"{2.0**exponent:g} mm, scan {number + 1} of {count}")
            low, high = (share * 2.0**exponent for share in voxels)
            random = torch.Generator().manual_seed((options.seed * 1000 + exponent + 500) * 10**5 + number)
            contrasts = CONTRASTS[options.contrasts]
            return draw_scan(read(paths[number % len(paths)]), random, voxel_mm=(low, high), contrasts=contrasts)

        judged[exponent] = fit_level(draw, count, model, exponent, coverage)
    _write(out, model, judged)
    return judged


def _write(folder: Path, model: Model, judged: Mapping[int, Judged]) -> None:
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
    zoo.save_again(folder, replace(model.card, calibration=write_calibration(calibrations)), model.network)
