"""`lodbrain evaluate stress`: robustness of methods to degraded scans."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Out, Quiet
from lodbrain.cli.usage import wrong_usage
from lodbrain.evaluation.robustness import MEAN, Stress, break_down
from lodbrain.evaluation.tables import table_named
from lodbrain.segmentation.settings import Settings
from lodbrain.synthesis.degradations import DEGRADATIONS
from lodbrain.system.memory import keep_freed_memory
from lodbrain.workflows import stress as workflow

Several: TypeAlias = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]


def stress(
    inputs: Annotated[list[str], Parameter(name="SCAN", required=True, negative="")],
    /,
    *,
    out: Out,
    labels: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    labels_table: str | None = None,
    model: str = "default",
    against: Several = None,
    finest_alone: Flag = False,
    only: Several = None,
    steps: int = 4,
    threshold: float = 0.7,
    seed: int = 0,
    device: str = "auto",
    quiet: Quiet = False,
) -> int:
    """Degrade scans step by step, segment them, and measure the Dice.

    The folder contains stress.tsv, with one row per step and region; breakdown.tsv, with the strength at which each
    method falls below the threshold; stress.json; and curves in methods and tissues, as .png and .svg. Existing steps
    are not computed again, so that an interrupted run continues.

    Parameters
    ----------
    inputs
        Scans, folders or quoted globs.
    out
        Folder for the results.
    labels
        A label map for each scan. Default: each method is compared with its own result on the undegraded scan, which
        measures its stability, not its accuracy.
    labels_table
        Label table of the labels, as in `lodbrain evaluate labels`. Default: detected from each map.
    model
        Name from `lodbrain models list`, or a model file.
    against
        Other models to compare with, such as lod-brain-2024. Default: none.
    finest_alone
        Also test the model's finest level without conditioning on the coarser ones.
    only
        One or more degradations: 'bias field', noise, resolution, 'thick slices', motion, 'field of view', rotation,
        contrast, offset, background. Default: all.
    steps
        Number of strengths of each degradation, 1 to 4.
    threshold
        Dice below which a method has failed.
    seed
        Seed of the random numbers.
    device
        Device: auto, cpu, cuda, cuda:1 ... or mps.
    quiet
        Print only errors.
    """
    others = (*([workflow.FINEST] if finest_alone else []), *(against or ()))
    with wrong_usage():
        settings = workflow.StressSettings(
            tuple(only or DEGRADATIONS), steps=steps, against=others, threshold=threshold, seed=seed
        )
    keep_freed_memory()
    with progress_bar(show=not quiet) as progress:
        found = workflow.stress(
            inputs,
            out,
            settings,
            labels=labels or (),
            labels_table=table_named(labels_table) if labels_table is not None else None,
            model=Settings(labels="brain", model=model, device=device),
            progress=progress or (lambda share, text: None),
        )
    for problem in found.problems:
        print(f"lodbrain: {problem}", file=sys.stderr)
    if not quiet and found.steps:
        Console(highlight=False).print(_stress_table(found, settings))
        print(f"Dice against {found.reference}.\n{out}: stress.tsv, breakdown.tsv, methods.png, tissues.png")
    return found.exit_code


def _stress_table(found: Stress, settings: workflow.StressSettings) -> Table:
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
