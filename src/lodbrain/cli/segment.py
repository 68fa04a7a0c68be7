"""`lodbrain segment`: segmentation of scans into label maps, volumes and a JSON sidecar."""

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

    For each scan NAME.nii.gz the folder contains NAME_dseg.nii.gz (label map), NAME_dseg.tsv (names and colours),
    NAME_volumes.tsv (mm^3) and NAME_dseg.json (provenance, and issues detected and corrected in the input).

    Parameters
    ----------
    inputs
        Scans (.nii, .nii.gz, .mgz), folders (searched recursively) or quoted globs.
    out
        Folder for the results.
    frame
        Volume of a 4D file to use, counted from 0.
    allow_odd_voxels
        Accept voxels smaller than 0.1 mm or larger than 10 mm.
    no_postprocess
        Keep all connected components of the network's labels. By default every structure except the lateral ventricles
        and the CSF is reduced to one connected component.
    """
    options = options or SegmentOptions()
    settings = options.settings(frame=frame, allow_odd_voxels=allow_odd_voxels, postprocess=not no_postprocess)
    return exit_code(do_jobs(find_jobs(inputs, out), settings, options))
