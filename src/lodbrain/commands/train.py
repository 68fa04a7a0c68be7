"""`lodbrain train`: training of a model from a configuration file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from lodbrain.commands.parameters import Flag
from lodbrain.system.memory import keep_freed_memory


def train(config: Path, *, levels: int | None = None, accept_changes: Flag = False) -> int:
    """Train a model as configured in a file. An interrupted run continues where it stopped.

    Use torchrun --nproc-per-node N -m lodbrain train CONFIG.yaml for several GPUs.

    Parameters
    ----------
    config
        Read this YAML file, such as configs/default.yaml; the documentation's page on training explains every field.
    levels
        Train this number of levels, from the coarsest. Default: all.
    accept_changes
        Continue even if the configuration differs from the one that the run started with.
    """
    keep_freed_memory()
    from lodbrain.training.config import read_config
    from lodbrain.training.training_run import train as run

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
