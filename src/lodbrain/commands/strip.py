"""`lodbrain strip`: brain extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.commands.console import progress_bar, tell_error, wrong_usage
from lodbrain.commands.options import ModelOptions
from lodbrain.commands.parameters import Flag, Frame, OddVoxels, Out, Overwrite, Quiet, ResumeScans
from lodbrain.errors import exit_status, shown
from lodbrain.segmentation.brain_extraction import MaskSettings
from lodbrain.segmentation.strip_files import Stripped, strip_jobs
from lodbrain.segmentation.strip_jobs import find_strip_jobs
from lodbrain.system.memory import keep_freed_memory


def strip(
    inputs: Annotated[list[str], Parameter(name="INPUT", required=True, negative="")],
    /,
    *,
    out: Out,
    mask: Annotated[Path | None, Parameter(name=["--mask", "-m"])] = None,
    border: Annotated[float, Parameter(name=["--border", "-b"])] = 0.0,
    no_csf: Flag = False,
    options: ModelOptions | None = None,
    frame: Frame = None,
    allow_odd_voxels: OddVoxels = False,
    resume: ResumeScans = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Extract the brain of scans, on their own grids, from the model's levels of 4 and 2 mm alone.

    The brain keeps the scan's data type, scaling and header; outside of the mask it is black. A JSON file next to the
    mask (without --mask next to the brain) says how both were made.

    Parameters
    ----------
    inputs
        Extract the brain of these scans (.nii, .nii.gz, .mgz), folders (searched recursively) or quoted globs.
    out
        Write the brain of a single scan to this file (.nii.gz, .nii or .mgz), or NAME_brain, NAME_mask and
        NAME_mask.json of each scan NAME to this folder.
    mask
        Write the mask of a single scan to this file. By default a mask is written only if --out is a folder.
    border
        Move the surface of the mask outwards by this distance in mm, or inwards if it is negative.
    no_csf
        Exclude the CSF around the brain.
    """
    with wrong_usage():
        wanted = MaskSettings(csf=not no_csf, border_mm=border)
    settings = (options or ModelOptions()).settings(
        labels="brain", frame=frame, allow_odd_voxels=allow_odd_voxels, resume=resume, overwrite=overwrite
    )
    jobs = find_strip_jobs(inputs, out, mask)
    keep_freed_memory()
    done = 0

    with progress_bar(show=not quiet) as progress:

        def tell(outcome: Stripped) -> None:
            nonlocal done
            done += 1
            if outcome.error is not None:
                tell_error(outcome.error)
            elif not quiet:
                print(_line(outcome), flush=True)
            progress(done / len(jobs), shown(outcome.job.path.name))

        outcomes = strip_jobs(jobs, wanted, settings, finished=tell)
    return exit_status([outcome.error for outcome in outcomes])


def _line(outcome: Stripped) -> str:
    name, brain = shown(outcome.job.path.name), shown(outcome.job.outputs.brain)
    if outcome.status == "skipped":
        return f"{name}: {brain} is complete, skipped"
    return f"{name}: {brain}, mask {outcome.volume_mm3 / 1000:.0f} ml, {outcome.seconds:.1f} s"
