"""`lodbrain evaluate calibration`: whether a model is as sure as it may be, and the model made so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Quiet
from lodbrain.inference.memory import keep_freed_memory
from lodbrain.inference.settings import Settings, load_model
from lodbrain.workflows.calibration import calibrate

Out: TypeAlias = Annotated[Path, Parameter(name=["--out", "-o"])]


def calibration(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 72,
    maps: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    coverage: float = 0.9,
    seed: int = 0,
    model: str = "default",
    device: str = "auto",
    quiet: Quiet = False,
) -> int:
    """Fit a temperature and intervals of volumes for every level of a model, and measure what they are worth.

    A third of the scans gives the temperature, a third the intervals, the last judges. The folder gets
    calibration.json, intervals.tsv, reliability.png, and the model with its calibration: use it with --model.

    Parameters
    ----------
    out
        Folder for the results.
    draws
        Synthetic scans for each level.
    maps
        Label maps that the model was not trained on. Default: the four of `lodbrain fetch labelmaps` that are
        kept for validation.
    coverage
        Share of true volumes that the intervals are to hold.
    seed
        Of the draws.
    model
        Name in `lodbrain models list`, or a model file.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    quiet
        Print errors only.
    """
    keep_freed_memory()
    loaded = load_model(Settings(model=model, device=device))
    with progress_bar(show=not quiet) as progress:
        found = calibrate(
            out,
            draws,
            loaded,
            maps=maps or (),
            coverage=coverage,
            seed=seed,
            progress=progress or (lambda share, text: None),
        )
    if not quiet:
        for exponent, one in found.items():
            print(
                f"{2.0**exponent:g} mm: temperature {one.calibration.temperature:.3f}, expected calibration error "
                f"{one.before.error:.4f} -> {one.after.error:.4f}; {one.coverage():.1%} of the true volumes lie in "
                f"their {coverage:.0%} intervals"
            )
        print(f"{out}: calibration.json, intervals.tsv, reliability.png, {loaded.card.name}.safetensors")
    return 0
