"""`lodbrain evaluate calibration`: whether a model is as sure as it may be, and the model made so."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Out
from lodbrain.cli.validation import ValidationOptions
from lodbrain.workflows.calibration import calibrate


def calibration(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 72,
    coverage: float = 0.9,
    options: ValidationOptions | None = None,
) -> int:
    """Fit a temperature and intervals of volumes for every level of a model, and measure what they are worth.

    A third of the scans gives the temperature, a third the intervals, the last judges. The folder gets
    calibration.json, intervals.tsv, reliability.png, and the model with its calibration: use it with --model.

    Parameters
    ----------
    out
        Folder for the results.
    draws
        Synthetic scans for the finest level; each coarser one gets twice as many.
    coverage
        Share of true volumes that the intervals are to hold.
    """
    options = options or ValidationOptions()
    loaded = options.load()
    with progress_bar(show=not options.quiet) as progress:
        found = calibrate(
            out,
            draws,
            loaded,
            maps=options.maps or (),
            contrasts=options.contrasts,
            coverage=coverage,
            seed=options.seed,
            progress=progress or (lambda share, text: None),
        )
    if not options.quiet:
        for exponent, one in found.items():
            print(
                f"{2.0**exponent:g} mm: temperature {one.calibration.temperature:.3f}, expected calibration error "
                f"{one.before.error:.4f} -> {one.after.error:.4f}; {one.coverage():.1%} of the true volumes lie in "
                f"their {coverage:.0%} intervals"
            )
        print(f"{out}: calibration.json, intervals.tsv, reliability.png, {loaded.card.name}.safetensors")
    return 0
