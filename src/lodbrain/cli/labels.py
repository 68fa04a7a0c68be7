"""`lodbrain labels`: label training maps of whole heads, label maps at another voxel size, and label tables."""

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
    """Create label training maps of whole heads from scans.

    Brain structures come from the model, or from --labels; scalp, bone, eyes, air and other tissue are classified by
    intensity and position in the head. For each scan NAME_T1w.nii.gz the folder contains NAME_desc-head_dseg with
    .nii.gz (map), .tsv (names and colours), .png (three planes) and .json (provenance), in the input's subfolders.

    With --teacher, each scan also gets soft training targets (NAME_desc-teacher_dseg, NAME_desc-second_dseg and
    NAME_desc-teacher_probseg: best label, second-best label, probability of the best), and manifest.csv lists the scans
    that passed the teacher's quality check, for `real: {manifest: ...}` in a training configuration.

    Parameters
    ----------
    inputs
        Scans (.nii, .nii.gz, .mgz), quoted globs, or folders. Of a BIDS data set all T1w scans are used.
    out
        Folder for the maps.
    labels
        Segmentation with FreeSurfer's numbers on the scan's grid, or a folder with one for each scan. Default: the
        model's.
    model
        Name from `lodbrain models list`, or a model file.
    teacher
        Model whose soft labels are written as training targets, such as accurate; it replaces --model. Default: none.
    device
        Device: auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Memory budget, such as 4GB or 2GiB. Default: free memory minus a margin.
    threads
        Number of CPU threads. Default: one per core.
    frame
        Volume of a 4D file to use, counted from 0.
    resume
        Skip scans whose maps are complete and made with the same settings; process the others.
    overwrite
        Replace existing maps.
    quiet
        Print only errors.
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
    """Resample label maps to a finer, or another, voxel size with smooth boundaries.

    Volumes of structures above 500 mm^3 are preserved within 1%, and structures are not split into more connected
    components. NAME.nii.gz has the input's name, NAME.json contains the volumes before and after.

    Parameters
    ----------
    inputs
        Label maps (.nii, .nii.gz, .mgz), quoted globs, or folders.
    out
        Folder for the new maps.
    voxel_size
        New voxel side in mm.
    resume
        Skip maps that are complete and made with the same settings; process the others.
    overwrite
        Replace existing maps.
    quiet
        Print only errors.
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
    """Write names and colours of the labels in the format of another program.

    Parameters
    ----------
    program
        Format: bids (_dseg.tsv), freesurfer (colour LUT), itksnap (label descriptions) or slicer (.ctbl).
    labels
        Label table: structures, tissue or brain.
    out
        File to write. Default: the table is printed.
    """
    text = label_file(TABLES[labels], program)
    if out is None:
        print(text, end="")
        return 0
    write_text(out, text)
    print(out)
    return 0


def _teller(*, quiet: bool) -> Callable[[Outcome], None]:
    """Return a function that prints a line for each outcome."""

    def tell(outcome: Outcome) -> None:
        if outcome.error is not None:
            print(f"lodbrain: {outcome.error}", file=sys.stderr, flush=True)
        elif not quiet:
            text = " is complete, skipped" if outcome.status == "skipped" else "".join(f" {n}" for n in outcome.notes)
            print(f"{outcome.path.name}: {outcome.labels}{text}", flush=True)

    return tell
