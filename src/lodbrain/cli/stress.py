"""`lodbrain evaluate stress`: what scans may suffer before a method breaks down."""

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
    """Make scans worse step by step, segment them, and see what becomes of the Dice.

    The folder gets stress.tsv, a row for each step and region; breakdown.tsv, where each method falls below the
    threshold; stress.json; and the curves as methods and tissues, .png and .svg. Steps that are there are not done
    again, so a run that was stopped goes on.

    Parameters
    ----------
    inputs
        Scans, folders or quoted globs.
    out
        Folder for the results.
    labels
        A label map for each scan. Without them each method is compared with its own result on the scan as it is, which
        says how stable it is and not how good.
    labels_table
        What the labels' numbers mean, as in evaluate labels. Default: told from each map.
    model
        Name in `lodbrain models list`, or a model file.
    against
        Other models to put beside it, such as lod-brain-2024.
    finest_alone
        Also the model's finest level without what the coarser ones tell it.
    only
        Some of: 'bias field', noise, resolution, 'thick slices', motion, 'field of view', rotation, contrast, offset,
        background.
    steps
        Strengths of each, 1 to 4.
    threshold
        Dice below which a method has broken down.
    seed
        Of what is drawn.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    quiet
        Print errors only.
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
    """Where each method breaks down: the mean of the tissues."""
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
