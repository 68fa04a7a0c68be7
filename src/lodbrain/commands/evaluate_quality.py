"""`lodbrain evaluate quality`: evaluation of the quality score on degraded synthetic scans."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from lodbrain.commands.console import progress_bar
from lodbrain.commands.parameters import Out
from lodbrain.commands.validation_options import ValidationOptions
from lodbrain.errors import UsageError
from lodbrain.evaluation.quality_fit import FAILED_DICE, Agreement
from lodbrain.evaluation.quality_validation import CASES, Validation, conclude, draw_case
from lodbrain.evaluation.validation_scans import Kind, validation_maps
from lodbrain.labels import TISSUES
from lodbrain.models import zoo
from lodbrain.report.validation_figures import quality_figure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.predicted_dice import SIGNS
from lodbrain.segmentation.settings import Model
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import load
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import read_tsv, write_json, write_tsv


def quality(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 200,
    voxel_size: Annotated[tuple[float, float], Parameter(negative="")] = (1.0, 1.4),
    options: ValidationOptions | None = None,
) -> int:
    """Evaluate the quality score: degraded synthetic scans are segmented, and predicted and true Dice compared.

    Half of the scans are used to fit the score, the others to evaluate it. The folder contains cases.tsv, quality.json
    (the fit and its evaluation), quality.png, and the model with the fit for --model (only the card of accurate).
    Existing cases are not computed again.

    Parameters
    ----------
    out
        Write the results to this folder.
    draws
        Generate this number of synthetic scans.
    voxel_size
        Sample voxel sides between these two sizes in mm.
    """
    options = options or ValidationOptions()
    loaded = options.load()
    with progress_bar(show=not options.quiet) as progress:
        found = validate_quality(out, draws, loaded, options, voxel_mm=voxel_size, progress=progress)
    if not options.quiet:
        for name, one in (("judged", found.judged), ("fitted", found.fitted)):
            print(
                f"{name}: n {one.n}, Pearson {one.pearson:.3f}, Spearman {one.spearman:.3f}, mean error "
                f"{one.mean_error:.3f}, AUC for Dice < 0.7 {one.auc:.3f} ({one.failed} cases)"
            )
        print(f"{found.refused} scans refused (no brain found)")
        print(f"{out}: cases.tsv, quality.json, quality.png, {zoo.file_name(loaded.card)}")
    return 0


#: The generator's contrasts, including a few fully random ones; or mostly scans with tissues in any order.
CONTRASTS: dict[Kind, Contrasts] = {
    "t1w": Contrasts(),
    "any": Contrasts(t1w_share=0.2, ordered_share=0.1, any_order_share=0.55),
}
_ABOUT = ("case", "run", "role", "map", "voxel_mm", "degradation", "strength", "dice")
_COLUMNS = (*_ABOUT, *(t.name for t in TISSUES[1:]), *SIGNS)


def validate_quality(
    out: Path,
    draws: int,
    model: Model,
    options: ValidationOptions,
    *,
    voxel_mm: tuple[float, float] = (1.0, 1.4),
    progress: Progress = silent,
) -> Validation:
    """Segment degraded scans, fit the score and evaluate it, and write the files; parameters are options of `quality`.

    Raises
    ------
    UsageError
        If the model is not of structures, there are fewer than 8 scans, or the folder holds scans of another run.
    InputError
        If a label map is missing or not valid, or too few scans were segmented.
    """
    if model.card.labels != "structures":
        raise UsageError("labels", None, f"model {model.card.name} gives tissue classes", "Name one of structures")
    if draws < 8:
        raise UsageError("draws", None, f"{draws} draws are too few", "Take 8 or more; a few hundred are better")
    check_writable(out)
    paths, read = validation_maps(options.maps or ()), cache(load)
    run = (
        f"{model.card.name}@{model.sha256[:12]}, {options.contrasts}, {voxel_mm[0]:g} to {voxel_mm[1]:g} mm, "
        f"seed {options.seed}"
    )
    rows = {int(row["case"]): row for row in _read(out / CASES)}
    if any(row["run"] != run for row in rows.values()):
        what = "it contains samples of another model, or with other options"
        raise UsageError("draws", out / CASES, what, "Name another folder")
    for number in range(draws):
        if number not in rows:
            progress(number / draws, f"draw {number + 1} of {draws}")
            labels, contrasts = read(paths[number % len(paths)]), CONTRASTS[options.contrasts]
            role = "fit" if number // len(paths) % 2 == 0 else "judge"
            row = draw_case(labels, model, contrasts, voxel_mm, (options.seed, number))
            rows[number] = {"case": number, "run": run, "role": role, **row}
            table = ([rows[case][column] for column in _COLUMNS] for case in sorted(rows))
            write_tsv(out / CASES, _COLUMNS, table)
    found = conclude([rows[number] for number in range(draws)], model.card.name)
    title = f"{model.card.name} on synthetic scans that nothing was fitted on"
    quality_figure(found.scores, found.dice, found.judged, out / "quality.png", title=title)
    write_json(out / "quality.json", {"score": found.fit, "judged": _words(found.judged), "refused": found.refused})
    zoo.save_again(out, replace(model.card, quality=found.fit), model.network)
    return found


def _words(found: Agreement) -> dict[str, float]:
    return {
        "n": found.n,
        f"dice below {FAILED_DICE}": found.failed,
        "pearson": found.pearson,
        "spearman": found.spearman,
        "mean absolute error": found.mean_error,
        "auc": found.auc,
    }


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in read_tsv(path) if set(_COLUMNS) <= set(row)]
    except FileNotFoundError:
        return []
