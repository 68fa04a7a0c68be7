"""`lodbrain labels`: label training maps of whole heads, label maps at another voxel size, and label tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from lodbrain.batch.cases import CaseFiles, CaseOutcome, exit_code, file_identity, find_cases, is_complete, run_cases
from lodbrain.commands.console import progress_bar, tell_error, wrong_usage
from lodbrain.commands.lazy import LazyApp
from lodbrain.commands.parameters import OptionalOut, Out, Overwrite, Quiet, ResumeMaps
from lodbrain.errors import UsageError
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.labelmaps.upsample import check_voxel_size, upsample_image
from lodbrain.labels import TABLES, Scheme
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.inputs import Scan, stem_of
from lodbrain.segmentation.label_files import Program, label_file
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.atomic import write_text
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent
from lodbrain.version import __version__

app = LazyApp(name="labels")
app.command(
    "lodbrain.commands.labels_make:make", name="make", help="Create label training maps of whole heads from scans."
)
Inputs: TypeAlias = Annotated[list[str], Parameter(name="INPUT", required=True, negative="")]


@app.command
def upsample(
    inputs: Inputs,
    /,
    *,
    out: Out,
    voxel_size: float,
    resume: ResumeMaps = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Resample label maps to a finer, or another, voxel size with smooth boundaries.

    Volumes of structures above 500 mm^3 are preserved within 1%, and structures are not split into more connected
    components. NAME.nii.gz has the input's name, NAME.json contains the volumes before and after.

    Parameters
    ----------
    inputs
        Upsample these label maps (.nii, .nii.gz, .mgz), quoted globs, or folders.
    out
        Write the new maps to this folder.
    voxel_size
        Resample to voxels of this side in mm.
    """
    if resume and overwrite:
        raise UsageError("setting", None, "--resume and --overwrite exclude each other")
    keep_freed_memory()
    with wrong_usage("voxel-size"), progress_bar(show=not quiet) as progress:
        outcomes = upsample_maps(
            inputs,
            out,
            voxel_size,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            finished=teller(quiet=quiet),
        )
    return exit_code(outcomes)


@app.command
def export(
    program: Program,
    /,
    *,
    labels: Scheme = "structures",
    out: OptionalOut = None,
) -> int:
    """Write names and colours of the labels in the format of another program.

    Parameters
    ----------
    program
        Write this format: bids (_dseg.tsv), freesurfer (colour LUT), itksnap (label descriptions) or slicer (.ctbl).
    labels
        Export this label table: structures, tissue or brain.
    out
        Write to this file. Default: the table is printed.
    """
    text = label_file(TABLES[labels], program)
    if out is None:
        print(text, end="")
        return 0
    write_text(out, text)
    print(out)
    return 0


def teller(*, quiet: bool) -> Callable[[CaseOutcome], None]:
    """Return a function that prints a line for each outcome."""

    def tell(outcome: CaseOutcome) -> None:
        if outcome.error is not None:
            tell_error(outcome.error)
        elif not quiet:
            text = " is complete, skipped" if outcome.status == "skipped" else "".join(f" {n}" for n in outcome.notes)
            print(f"{outcome.path.name}: {outcome.labels}{text}", flush=True)

    return tell


def upsample_maps(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    voxel_mm: float,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
    finished: Callable[[CaseOutcome], None] | None = None,
) -> list[CaseOutcome]:
    """Resample label maps to another voxel size; a failing map does not stop the others. See `upsample`.

    Of a folder with ``_dseg`` files, only these are used.

    Raises
    ------
    ValueError
        If the voxel size is not possible.
    UsageError, OutputError
        Errors that concern all inputs.
    """
    check_voxel_size(voxel_mm)

    def work(case: Scan, results: CaseFiles, report: Progress) -> tuple[str, ...] | None:
        origin: Json = {"input": file_identity(case.path), "voxel_size_mm": voxel_mm}
        if resume and is_complete(results.sidecar, origin):
            return None
        image = read_labels(case.path)
        fine = upsample_image(
            image, voxel_mm, name=str(case.path), progress=lambda share, text: report(0.05 + 0.85 * share, text)
        )
        report(0.9, "writing")
        results.begin()
        write_nifti(results.labels, fine.image.data, fine.image, description=f"lodbrain {__version__} labels upsample")
        volumes = [
            {"index": row.index, "before_mm3": round(row.before_mm3, 3), "after_mm3": round(row.after_mm3, 3)}
            for row in fine.volumes
        ]
        results.finish(origin, {"notes": list(image.notes), "volumes": volumes})
        return image.notes

    cases, out = find_cases(inputs, "_dseg"), Path(out_dir)
    check_writable(out)
    return run_cases(
        cases,
        out,
        name=lambda case: stem_of(case.path),
        work=work,
        may_exist=resume or overwrite,
        progress=progress,
        finished=finished,
    )
