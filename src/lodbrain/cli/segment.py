"""`lodbrain segment`: scans in, label maps, volumes and a record of what was done out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from lodbrain.cli.many import do_jobs
from lodbrain.errors import UsageError
from lodbrain.inference.jobs import find_jobs
from lodbrain.inference.memory import parse_memory
from lodbrain.inference.outcome import exit_code
from lodbrain.inference.settings import Settings
from lodbrain.labels import Scheme
from lodbrain.workflows.pages import add_pages, check_installed

Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]


def segment(
    inputs: Annotated[list[str], Parameter(name="INPUT", required=True, negative="")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    labels: Scheme = "structures",
    model: str = "default",
    device: str = "auto",
    memory: str | None = None,
    threads: int | None = None,
    posteriors: Flag = False,
    report: Flag = False,
    resume: Flag = False,
    overwrite: Flag = False,
    frame: int | None = None,
    allow_odd_voxels: Flag = False,
    no_postprocess: Flag = False,
    jobs: int = 1,
    scheduler: str | None = None,
    quiet: Annotated[Flag, Parameter(name=["--quiet", "-q"])] = False,
) -> int:
    """Segment scans on their own grids.

    For each scan NAME.nii.gz the folder gets NAME_dseg.nii.gz (label map), NAME_dseg.tsv (names and colours),
    NAME_volumes.tsv (mm^3) and NAME_dseg.json (how it was made, and what was found and mended in the scan).

    Parameters
    ----------
    inputs
        Scans (.nii, .nii.gz, .mgz), folders (searched recursively) or quoted globs.
    out
        Folder for the results.
    labels
        32 structures with FreeSurfer's numbers, 6 tissue classes, or a brain mask.
    model
        Name in `lodbrain models list`, or a model file.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Budget such as 4GB or 2GiB, for all processes. Default: what is free, less a margin.
    threads
        Threads of the CPU, for each process. Default: one a core.
    posteriors
        Write the posteriors, too: NAME_probseg.nii.gz, one large volume for each label.
    report
        Write a page to look at, too: NAME_report.html, with viewer, outlines, volumes and quality.
    resume
        Skip scans whose results are complete and made the same way; do the others again.
    overwrite
        Replace results that are there.
    frame
        Which volume of a 4D file, from 0.
    allow_odd_voxels
        Accept voxels smaller than 0.1 mm or larger than 10 mm.
    no_postprocess
        Keep every piece of a structure, not only the largest.
    jobs
        Scans at a time, each in a process of its own; they share memory and cores.
    scheduler
        Address of a Dask scheduler, or its file: its workers do the scans.
    quiet
        Print errors only.
    """
    try:
        settings = Settings(
            labels=labels,
            model=model,
            device=device,
            memory_bytes=parse_memory(memory) if memory is not None else None,
            threads=threads,
            posteriors=posteriors,
            frame=frame,
            allow_odd_voxels=allow_odd_voxels,
            postprocess=not no_postprocess,
            resume=resume,
            overwrite=overwrite,
        )
    except ValueError as error:
        raise UsageError("setting", None, str(error)) from error

    if report:
        check_installed()
    outcomes = do_jobs(find_jobs(inputs, out), settings, processes=jobs, scheduler=scheduler, quiet=quiet)
    without_page = add_pages(outcomes) if report else []
    for problem in without_page:
        print(f"lodbrain: {problem}", file=sys.stderr)
    return exit_code(outcomes) or (3 if without_page else 0)
