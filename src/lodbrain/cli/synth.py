"""`lodbrain synth`: synthetic scans with labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Quiet
from lodbrain.cli.usage import wrong_usage
from lodbrain.errors import UsageError
from lodbrain.system.memory import keep_freed_memory
from lodbrain.workflows import synth as workflow
from lodbrain.workflows.cases import Outcome, exit_code


def synth(
    inputs: Annotated[list[str], Parameter(name="LABELMAP", required=True, negative="")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    number: Annotated[int | None, Parameter(name=["--number", "-n"])] = None,
    contrast: Path | None = None,
    contrast_share: float = 1.0,
    voxel_size: float | None = None,
    seed: int = 0,
    figure: Path | None = None,
    replay: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Generate synthetic scans with labels from label maps.

    Pair k of a seed is always the same, independent of the number of pairs and threads. It is written to
    sub-synth000k/anat/sub-synth000k with _T1w.nii.gz (scan; white matter is about 1000), _dseg.nii.gz (labels on its
    grid, FreeSurfer's numbers) and _T1w.json (all sampled parameters, for --replay).

    Parameters
    ----------
    inputs
        Label maps of heads (.nii, .nii.gz, .mgz), folders or quoted globs, used in turn. Their grids may differ.
    out
        Folder for the data set.
    number
        Number of pairs to generate.
    contrast
        Profile from `lodbrain contrast`; the scans resemble it. Default: any contrast.
    contrast_share
        Share of the scans that resemble the profile; the others have any contrast.
    voxel_size
        Voxel side in mm. Default: that of the profile, else 0.6 to 1.4 mm.
    seed
        Seed of the random numbers.
    figure
        PNG to write with the first pairs.
    replay
        The _T1w.json of a pair, which is generated again from its label map.
    device
        Device: auto, cpu, cuda, cuda:1 ... or mps.
    threads
        Number of pairs generated in parallel. Default: one per core.
    resume
        Keep pairs that are complete and made with the same settings; generate the others.
    overwrite
        Replace existing pairs.
    quiet
        Print only errors.
    """
    if (number is None) == (replay is None):
        raise UsageError("number", None, "say how many pairs to make (-n), or which to make again (--replay)")
    keep_freed_memory()

    def say(outcome: Outcome) -> None:
        if outcome.error is not None:
            print(f"lodbrain: {outcome.error}", file=sys.stderr, flush=True)
        elif not quiet:
            print(f"{outcome.labels}{' is complete, skipped' if outcome.status == 'skipped' else ''}", flush=True)

    if replay is not None:
        outcomes = [workflow.replay(inputs, replay, out, device=device, overwrite=overwrite, figure=figure)]
        say(outcomes[0])
    else:
        assert number is not None
        with wrong_usage(), progress_bar(show=not quiet) as progress:
            outcomes = workflow.synthesise(
                inputs,
                out,
                number,
                voxel_mm=voxel_size,
                seed=seed,
                contrast=contrast,
                contrast_share=contrast_share,
                device=device,
                threads=threads,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                figure=figure,
                finished=say,
            )
    return exit_code(outcomes)
