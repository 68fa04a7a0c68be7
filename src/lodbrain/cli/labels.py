"""`lodbrain labels`: training maps of whole heads from scans, and label maps at another voxel size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Out, Quiet
from lodbrain.cli.usage import wrong_usage
from lodbrain.errors import UsageError
from lodbrain.labels import TABLES, Scheme
from lodbrain.segmentation.label_files import Program, label_file
from lodbrain.segmentation.settings import Settings
from lodbrain.system.atomic import write_text
from lodbrain.system.memory import keep_freed_memory, parse_memory
from lodbrain.workflows import labels as workflow
from lodbrain.workflows.cases import Outcome, exit_code

app = App(name="labels")

Inputs: TypeAlias = Annotated[list[str], Parameter(name="INPUT", required=True, negative="")]


@app.command
def make(
    inputs: Inputs,
    /,
    *,
    out: Out,
    labels: Path | None = None,
    model: str = "default",
    teacher: str | None = None,
    device: str = "auto",
    memory: str | None = None,
    threads: int | None = None,
    frame: int | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Make label training maps of whole heads from scans.

    Brain structures come from the model, or from --labels; scalp, bone, eyes, air and other tissue from the scan's
    intensities and their place in the head. For each scan NAME_T1w.nii.gz the folder gets NAME_desc-head_dseg with
    .nii.gz (map), .tsv (names and colours), .png (three planes) and .json (how it was made), in the input's folders.

    With --teacher, each scan also gets soft training targets (NAME_desc-teacher_dseg, NAME_desc-second_dseg and
    NAME_desc-teacher_probseg: best label, second-best label, probability of the best), and manifest.csv lists the scans
    that the teacher is sure enough of, for `real: {manifest: ...}` in a training configuration.

    Parameters
    ----------
    inputs
        Scans (.nii, .nii.gz, .mgz), quoted globs, or folders. Of a BIDS data set all T1w scans are taken.
    out
        Folder for the maps.
    labels
        Segmentation with FreeSurfer's numbers on the scan's grid, or a folder with one for each scan.
    model
        Name in `lodbrain models list`, or a model file.
    teacher
        Model whose soft labels are written as training targets, such as accurate; it takes the place of --model.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Budget such as 4GB or 2GiB. Default: what is free, less a margin.
    threads
        Threads of the CPU. Default: one a core.
    frame
        Which volume of a 4D file, from 0.
    resume
        Skip scans whose maps are complete and made the same way; do the others again.
    overwrite
        Replace maps that are there.
    quiet
        Print errors only.
    """
    with wrong_usage():
        settings = Settings(
            model=teacher or model,
            device=device,
            memory_bytes=parse_memory(memory) if memory is not None else None,
            threads=threads,
            frame=frame,
            resume=resume,
            overwrite=overwrite,
        )
    keep_freed_memory()
    with progress_bar(show=not quiet) as progress:
        outcomes = workflow.make_maps(
            inputs,
            out,
            settings,
            given=labels,
            teach=teacher is not None,
            progress=progress,
            finished=_teller(quiet=quiet),
        )
    return exit_code(outcomes)


@app.command
def upsample(
    inputs: Inputs,
    /,
    *,
    out: Out,
    voxel_size: float,
    resume: Flag = False,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Bring label maps to a finer, or another, voxel size with smooth boundaries.

    Volumes of structures above 500 mm^3 are kept within 1%, and nothing falls into more pieces. NAME.nii.gz gets the
    input's name, NAME.json the volumes before and after.

    Parameters
    ----------
    inputs
        Label maps (.nii, .nii.gz, .mgz), quoted globs, or folders.
    out
        Folder for the new maps.
    voxel_size
        The new voxel side in mm.
    resume
        Skip maps that are complete and made the same way; do the others again.
    overwrite
        Replace maps that are there.
    quiet
        Print errors only.
    """
    if resume and overwrite:
        raise UsageError("setting", None, "--resume and --overwrite exclude each other")
    keep_freed_memory()
    with wrong_usage("voxel-size"), progress_bar(show=not quiet) as progress:
        outcomes = workflow.upsample_maps(
            inputs,
            out,
            voxel_size,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            finished=_teller(quiet=quiet),
        )
    return exit_code(outcomes)


@app.command
def export(
    program: Program,
    /,
    *,
    labels: Scheme = "structures",
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> int:
    """Write names and colours of the labels for another program.

    Parameters
    ----------
    program
        bids (_dseg.tsv), freesurfer (colour LUT), itksnap (label descriptions) or slicer (.ctbl).
    labels
        Which table: structures, tissue or brain.
    out
        The file; without it the table is printed.
    """
    text = label_file(TABLES[labels], program)
    if out is None:
        print(text, end="")
        return 0
    write_text(out, text)
    print(out)
    return 0


def _teller(*, quiet: bool) -> Callable[[Outcome], None]:
    """Return what prints a line for each outcome."""

    def tell(outcome: Outcome) -> None:
        if outcome.error is not None:
            print(f"lodbrain: {outcome.error}", file=sys.stderr, flush=True)
        elif not quiet:
            text = " is complete, skipped" if outcome.status == "skipped" else "".join(f" {n}" for n in outcome.notes)
            print(f"{outcome.path.name}: {outcome.labels}{text}", flush=True)

    return tell
