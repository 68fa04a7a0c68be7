"""`lodbrain train`: a model from label maps and scans, as a configuration says."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from lodbrain.cli.switches import Flag
from lodbrain.system.memory import keep_freed_memory


def train(config: Path, *, levels: int | None = None, accept_changes: Flag = False) -> int:
    """Train a model as a configuration file says; a run that was stopped goes on where it was.

    On several GPUs: torchrun --nproc-per-node N -m lodbrain train CONFIG.yaml

    Parameters
    ----------
    config
        YAML file, such as configs/default.yaml; docs/training.md tells of every field.
    levels
        Train only so many levels, from the coarsest.
    accept_changes
        Go on although the configuration is not the one that the run began with.
    """
    keep_freed_memory()
    from lodbrain.training.config import read_config
    from lodbrain.training.run import train as run

    console = Console()
    settings = read_config(config)
    path = run(
        settings,
        report=lambda line: console.print(line, highlight=False),
        stop_after=levels,
        accept_changes=accept_changes,
    )
    console.print(f"wrote {path}")
    return 0
