"""`lodbrain train`: a model from label maps, as a configuration says."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def train(config: Path, *, levels: int | None = None) -> int:
    """Train a model as a configuration file says; a run that was stopped goes on where it was.

    Parameters
    ----------
    config
        YAML file, such as configs/default.yaml.
    levels
        Train only so many levels, from the coarsest.
    """
    from lodbrain.training.config import read_config
    from lodbrain.training.run import train as run

    console = Console()
    settings = read_config(config)
    path = run(settings, report=lambda line: console.print(line, highlight=False), stop_after=levels)
    console.print(f"wrote {path}")
    return 0
