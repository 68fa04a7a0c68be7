"""`lodbrain plan`: memory and time of a training, measured before its first step."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lodbrain.commands.parameters import Strings

#: Memory sizes from a laptop's GPU to the largest at present, an APU with shared memory.
MEMORIES = ("8GB", "16GB", "24GB", "48GB", "80GB", "141GB", "192GB")


def plan(
    config: Path,
    *,
    memory: Strings = None,
    steps: int = 8,
) -> int:
    """Measure memory and time of every level of a training, and say which memory sizes it fits into.

    A few steps of each level are run in a fresh process, in the order of the training.

    Parameters
    ----------
    config
        Read this YAML file, as for `lodbrain train`.
    memory
        Compare the trial with these memory sizes, such as 8GB 24GB. Default: 8GB to 192GB.
    steps
        Run this number of trial steps per level. With 0 there is no trial, only the largest inputs are given.
    """
    from lodbrain.commands.console import wrong_usage
    from lodbrain.errors import UsageError
    from lodbrain.system.memory import parse_memory
    from lodbrain.training.config import read_config
    from lodbrain.training.requirements import measure_requirements

    if steps < 0:
        raise UsageError("steps", None, f"steps must be 0 or more, got {steps}")
    console = Console()
    settings = read_config(config)
    with wrong_usage("memory"):
        room = [(words, parse_memory(words)) for words in memory or MEMORIES]
    levels = measure_requirements(settings, steps=steps, report=lambda line: console.print(line, highlight=False))
    table = Table(title=f"{settings.name}: memory and time by level", title_justify="left")
    columns = ("level", "largest input", "batch", "tried, GiB", "s a step", "all")
    for column in columns:
        table.add_column(column, justify="left" if column == "level" else "right")
    for level in levels:
        trial = level.trial
        table.add_row(
            level.name,
            "x".join(str(n) for n in level.shape),
            str(settings.batch),
            "-" if trial is None else f"{trial.peak_bytes / 2**30:.2f}",
            "-" if trial is None else f"{trial.seconds_per_step:.2f}",
            duration(None if trial is None else trial.seconds_per_step, level.steps),
        )
    console.print(table)
    if not steps:
        return 0
    table = Table(title="What it fits into, with 40% more than in the trial", title_justify="left")
    table.add_column("level")
    for words, _ in room:
        table.add_column(words, justify="right")
    for level in levels:
        if level.trial is not None:
            table.add_row(level.name, *("yes" if level.trial.fits(amount) else "no" for _, amount in room))
    console.print(table)
    return 0


def duration(seconds_per_step: float | None, steps: int | None) -> str:
    """Return the duration of `steps` steps in words."""
    if seconds_per_step is None or steps is None:
        return "-"
    minutes = seconds_per_step * steps / 60
    return f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.0f} min"
