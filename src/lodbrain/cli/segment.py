"""`lodbrain segment`: scans in, label maps, volumes and a record of what was done out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.many import do_jobs
from lodbrain.cli.options import SegmentOptions
from lodbrain.cli.switches import Flag
from lodbrain.segmentation.jobs import find_jobs
from lodbrain.segmentation.outcome import exit_code


def segment(
    inputs: Annotated[list[str], Parameter(name="INPUT", required=True, negative="")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    options: SegmentOptions | None = None,
    frame: int | None = None,
    allow_odd_voxels: Flag = False,
    no_postprocess: Flag = False,
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
    frame
        Which volume of a 4D file, from 0.
    allow_odd_voxels
        Accept voxels smaller than 0.1 mm or larger than 10 mm.
    no_postprocess
        Leave stray pieces of structures as the network draws them. By default every structure but the lateral
        ventricles and the CSF becomes one connected component.
    """
    options = options or SegmentOptions()
    settings = options.settings(frame=frame, allow_odd_voxels=allow_odd_voxels, postprocess=not no_postprocess)
    return exit_code(do_jobs(find_jobs(inputs, out), settings, options))
