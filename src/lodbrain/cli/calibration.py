"""`lodbrain evaluate calibration`: calibration of a model's posteriors and of its volume intervals."""

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
    """Fit a temperature and volume intervals for every level of a model, and evaluate both.

    The temperature is fitted on a third of the scans, the intervals on another, and both are evaluated on the rest. The
    folder contains calibration.json, intervals.tsv, reliability.png, and the calibrated model for --model.

    Parameters
    ----------
    out
        Folder for the results.
    draws
        Number of synthetic scans for the finest level; each coarser level uses twice as many.
    coverage
        Nominal coverage of the volume intervals, as a share of the true volumes.
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
