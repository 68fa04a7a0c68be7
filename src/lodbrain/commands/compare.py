"""`lodbrain compare`: comparison of architectures trained under the same conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markdown import Markdown

from lodbrain.commands.parameters import Out


def compare(
    configs: Annotated[list[Path], Parameter(name="CONFIG", required=True, negative="")],
    /,
    *,
    out: Out,
    seconds: float | None = None,
    scans: int = 16,
) -> int:
    """Train architectures for the same time on the same scans, and compare them.

    The table lists parameters, memory, seconds and Dice per class. An interrupted comparison continues where it
    stopped.

    Parameters
    ----------
    configs
        Train these YAML files, as for `lodbrain train`, which differ only in architecture and levels.
    out
        Write the trainings, comparison.md and comparison.json to this folder.
    seconds
        Train each architecture for this number of seconds: processor time on the CPU, wall-clock time elsewhere.
        Default: as configured.
    scans
        Validate on this number of scans.
    """
    from lodbrain.errors import UsageError
    from lodbrain.training.architecture_comparison import compare as run
    from lodbrain.training.architecture_comparison import to_markdown
    from lodbrain.training.config import read_config

    if seconds is not None and seconds <= 0:
        raise UsageError("seconds", None, f"seconds must be above 0, got {seconds:g}")
    if scans < 1:
        raise UsageError("scans", None, f"scans must be 1 or more, got {scans}")
    console = Console()
    settings = [read_config(path) for path in configs]
    rows = run(settings, out, seconds=seconds, scans=scans, report=lambda line: console.print(line, highlight=False))
    console.print(Markdown(to_markdown(rows)))
    console.print(f"wrote {out / 'comparison.md'}")
    return 0
