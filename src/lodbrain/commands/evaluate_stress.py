"""`lodbrain evaluate stress`: robustness of methods to degraded scans."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from lodbrain.commands.console import progress_bar, tell_error, wrong_usage
from lodbrain.commands.parameters import Device, Flag, ModelName, Out, Paths, Quiet, Seed, Strings
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.robustness import COLUMNS, MEAN, Stress, break_down, key_of, read_steps
from lodbrain.evaluation.stress_test import (
    FINEST,
    JSON,
    TSV,
    StressSettings,
    Subject,
    check_same,
    load_methods,
    settings_of,
)
from lodbrain.evaluation.tables import LabelTable, table_named
from lodbrain.report.stress_figure import Panel, stress_figure
from lodbrain.segmentation.inputs import find_scans
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Settings
from lodbrain.synthesis.degradations import DEGRADATIONS
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import write_json, write_tsv


def stress(
    inputs: Annotated[list[str], Parameter(name="SCAN", required=True, negative="")],
    /,
    *,
    out: Out,
    labels: Paths = None,
    labels_table: str | None = None,
    model: ModelName = "default",
    against: Strings = None,
    finest_alone: Flag = False,
    only: Strings = None,
    steps: int = 4,
    threshold: float = 0.7,
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """Degrade scans step by step, segment them, and measure the Dice.

    The folder contains stress.tsv, with one row per step and region; breakdown.tsv, with the strength at which each
    method falls below the threshold; stress.json; and curves in methods and tissues, as .png and .svg. Existing steps
    are not computed again, so that an interrupted run continues.

    Parameters
    ----------
    inputs
        Degrade these scans, folders or quoted globs.
    out
        Write the results to this folder.
    labels
        Compare with these label maps, one per scan. Default: each method is compared with its own result on the
        original scan, which measures its stability, not its accuracy.
    labels_table
        Read the labels with this label table, as in `lodbrain evaluate labels`. Default: detected from each map.
    against
        Also test these models, such as lod-brain-2024. Default: none.
    finest_alone
        Also test the model's finest level without conditioning on the coarser ones.
    only
        Apply these degradations only: 'bias field', noise, resolution, 'thick slices', motion, 'field of view',
        rotation, contrast, offset, background. Default: all.
    steps
        Apply this number of strengths of each degradation, 1 to 4.
    threshold
        Count a Dice below this value as a failure.
    """
    others = (*([FINEST] if finest_alone else []), *(against or ()))
    with wrong_usage():
        settings = StressSettings(
            tuple(only or DEGRADATIONS), steps=steps, against=others, threshold=threshold, seed=seed
        )
    keep_freed_memory()
    with progress_bar(show=not quiet) as progress:
        found = run_stress_test(
            inputs,
            out,
            settings,
            labels=labels or (),
            labels_table=table_named(labels_table) if labels_table is not None else None,
            model=Settings(labels="brain", model=model, device=device),
            progress=progress,
        )
    for problem in found.problems:
        tell_error(problem)
    if not quiet and found.steps:
        Console(highlight=False).print(_stress_table(found, settings))
        print(f"Dice against {found.reference}.\n{out}: stress.tsv, breakdown.tsv, methods.png, tissues.png")
    return found.exit_code


def _stress_table(found: Stress, settings: StressSettings) -> Table:
    """Return the table of breakdown points by the mean of the tissues."""
    title = f"Mean Dice of the tissues falls below {settings.threshold:g} at"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("degradation")
    for method in found.methods:
        table.add_column(method, justify="right")
    table.add_column("unit")
    for name in settings.degradations:
        cells = []
        for method in found.methods:
            strengths, dice = found.curve(method, name, MEAN)
            at = break_down(strengths, dice, threshold=settings.threshold)
            last = dice[-1] if dice else math.nan
            cells.append(f"{at:.3g}" if at is not None else f"not up to {strengths[-1]:g} ({last:.2f})")
        table.add_row(name, *cells, DEGRADATIONS[name].unit)
    return table


def run_stress_test(
    inputs: Sequence[str | PathLike[str]],
    out: Path,
    settings: StressSettings,
    *,
    labels: Sequence[Path] = (),
    labels_table: LabelTable | None = None,
    model: Settings | None = None,
    progress: Progress = silent,
) -> Stress:
    """Apply every degradation to every scan, and write the files; steps that are in the folder are not computed again.

    Parameters
    ----------
    labels : sequence of Path
        Label maps in the order of the scans; without them each method is compared with its result on the undegraded
        scan.
    labels_table : LabelTable, optional
        Meaning of their numbers; by default detected from each map.
    model : Settings, optional
        The tested method.

    Raises
    ------
    UsageError
        If there are not as many labels as scans, a model is unknown, or the results were made with other settings.
    """
    scans = find_scans(inputs)
    if labels and len(labels) != len(scans):
        raise UsageError("labels", None, f"{len(labels)} label maps for {len(scans)} scans", "Name one for each scan")
    check_writable(out)
    reference = "given labels" if labels else "each method's own result on the undisturbed scan"
    methods = load_methods(model or Settings(), settings.against)
    made = settings_of(reference, settings, methods)
    check_same(out, made)
    write_json(out / JSON, made)
    done = {key_of(step): step for step in read_steps(out / TSV)}
    wanted = [(name, strength) for name in settings.degradations for strength in settings.strengths(name)]
    total = max(1, len(scans) * len(methods) * (1 + len(wanted)))
    count, problems = 0, []
    for number, scan in enumerate(scans):
        case = (scan.folder / scan.stem).as_posix()
        try:
            if scan.problem is not None:
                raise scan.problem
            subject: Subject | None = None
            for name, (loaded, context) in methods.items():
                for degradation, strength in [("", 0.0), *wanted]:
                    count += 1
                    if any(key[:4] == (case, name, degradation, strength) for key in done):
                        continue
                    progress(count / total, f"{scan.path.name}: {name}, {degradation or 'undisturbed'} {strength:g}")
                    subject = subject or Subject.read(scan.path, labels[number] if labels else None, labels_table)
                    for step in subject.step(case, name, loaded, context, degradation, strength, seed=settings.seed):
                        done[key_of(step)] = step
                    write_tsv(out / TSV, COLUMNS, (astuple(step) for step in done.values()))
        except InputError as error:
            problems.append(InputError(error.code, error.path or scan.path, error.what, error.hint))
    chosen = {("", 0.0), *wanted}
    steps = tuple(s for s in done.values() if s.method in methods and (s.degradation, s.strength) in chosen)
    found = Stress(steps, reference, tuple(problems))
    write_tsv(out / "breakdown.tsv", _BREAKDOWN, _break_downs(found, settings))
    if steps:
        _draw(out, found, settings)
    scanned = sorted({step.scan for step in steps})
    write_json(out / JSON, {**made, "scans": scanned, "problems": [str(problem) for problem in problems]})
    return found


_BREAKDOWN = (
    *("degradation", "unit", "method", "region", "level"),
    *("dice_undisturbed", "dice_strongest", "breaks_down_at"),
)


def _break_downs(found: Stress, settings: StressSettings) -> Iterator[tuple[object, ...]]:
    """Yield the rows of ``breakdown.tsv``."""
    regions = list(dict.fromkeys((step.region, step.level) for step in found.steps))
    for name, method, (region, level) in product(settings.degradations, found.methods, regions):
        strengths, dice = found.curve(method, name, region)
        if strengths:
            at = break_down(strengths, dice, threshold=settings.threshold)
            yield name, DEGRADATIONS[name].unit, method, region, level, dice[0], dice[-1], at


def _draw(folder: Path, found: Stress, settings: StressSettings) -> None:
    """Write curves of the tissues' mean for every method, and of each tissue for the first one."""
    first = found.methods[0]
    tissues = list(dict.fromkeys(step.region for step in found.steps if step.level == "tissue"))
    lines: dict[str, list[tuple[str, str, str]]] = {
        "methods": [(method, method, MEAN) for method in found.methods],
        "tissues": [(region, first, region) for region in tissues],
    }
    for name, curves in lines.items():
        panels = [
            Panel(
                kind,
                DEGRADATIONS[kind].unit,
                {label: found.curve(method, kind, region) for label, method, region in curves},
            )
            for kind in settings.degradations
        ]
        of = "mean of the tissues" if name == "methods" else first
        title = f"Dice against {found.reference}: {of}"
        paths = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
        stress_figure(panels, paths, threshold=settings.threshold, title=title)
