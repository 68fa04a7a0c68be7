"""`lodbrain adapt`: adaptation of a model to unlabelled scans of a new scanner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lodbrain.commands.console import tell_error, wrong_usage
from lodbrain.commands.parameters import Frame, Out, Quiet, Threads


def adapt(
    inputs: Annotated[list[str], Parameter(name="SCAN", required=True, negative="")],
    /,
    *,
    out: Out,
    minutes: float = 30.0,
    base: str = "default",
    levels: int = 2,
    held_out: int = 16,
    scans: int = 4,
    labelmaps: Path | None = None,
    device: str = "auto",
    threads: Threads = None,
    frame: Frame = None,
    quiet: Quiet = False,
) -> int:
    """Adapt a model to unlabelled scans of a new scanner.

    The contrast of the scans is analysed, similar scans are synthesised from label maps, and the finest levels are
    fine-tuned. The tuned model is kept only if it is better on held-out synthetic scans of this contrast, more
    consistent on the scans themselves, and no worse on the base model's validation; otherwise OUT is the base model. A
    report of all measurements is written beside it.

    Parameters
    ----------
    inputs
        Adapt to these scans of one protocol (.nii, .nii.gz, .mgz), folders or quoted globs.
    out
        Write the model to this file (.safetensors), for `lodbrain segment --model`.
    minutes
        Fine-tune for this number of minutes, without analysis and evaluation. On the CPU, this is processor time.
    base
        Start from this model: a name from `lodbrain models list`, or a file.
    levels
        Tune this number of levels, counted from the finest that the scans use.
    held_out
        Evaluate on this number of held-out synthetic scans of each kind.
    scans
        Measure consistency on this number of the given scans.
    labelmaps
        Generate synthetic scans from the label maps in this folder. Default: those of `lodbrain fetch labelmaps`.
    device
        Compute on this device: cpu, cuda, cuda:1 ..., rocm, mps, or auto (a GPU if there is one).
    quiet
        Print only errors and the name of the written file.
    """
    from lodbrain.contrast_analysis.scan_files import Analysed
    from lodbrain.training.adaptation import adapt as run
    from lodbrain.training.adaptation_config import AdaptSettings

    console, failed = Console(), []
    with wrong_usage():
        settings = AdaptSettings(
            base=base,
            minutes=minutes,
            levels=levels,
            held_out=held_out,
            scans=scans,
            device=device,
            threads=threads,
            labelmaps=labelmaps,
            frame=frame,
        )

    def refused(scan: Analysed) -> None:
        failed.append(scan)
        if scan.error is not None:
            tell_error(scan.error)

    def say(line: str) -> None:
        if not quiet:
            console.print(line, highlight=False, markup=False)

    report = run(inputs, out, settings, report=say, refused=refused)
    for line in report.verdict:
        say(line)
    kept = "kept the tuned model" if report.kept else f"not better: kept {report.base}"
    console.print(f"wrote {out} ({kept}) and {out.stem}_adapt.md", highlight=False, markup=False)
    return 3 if failed else 0
