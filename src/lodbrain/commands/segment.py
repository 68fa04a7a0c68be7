"""`lodbrain segment`: segmentation of scans into label maps, volumes and a JSON sidecar."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lodbrain.commands.many import do_jobs
from lodbrain.commands.options import SegmentOptions
from lodbrain.commands.parameters import Flag, Frame, OddVoxels, Out
from lodbrain.segmentation.dicom_inputs import DicomOptions
from lodbrain.segmentation.dicom_seg import check_installed
from lodbrain.segmentation.jobs import find_jobs
from lodbrain.segmentation.outcome import exit_code
from lodbrain.segmentation.outputs import LabelFormat


def segment(
    inputs: Annotated[list[str], Parameter(name="INPUT", required=True, negative="")],
    /,
    *,
    out: Out,
    options: SegmentOptions | None = None,
    frame: Frame = None,
    allow_odd_voxels: OddVoxels = False,
    no_postprocess: Flag = False,
    label_format: Annotated[LabelFormat, Parameter(name="--format")] = "nifti",
    series: int | None = None,
    dicom_seg: Flag = False,
    identify: Flag = False,
) -> int:
    """Segment scans on their own grids.

    For each scan NAME.nii.gz the folder contains NAME_dseg.nii.gz (label map), NAME_dseg.tsv (names and colours),
    NAME_volumes.tsv (mm^3) and NAME_dseg.json (provenance, and issues detected and corrected in the input).

    Parameters
    ----------
    inputs
        Segment these scans (.nii, .nii.gz, .mgz), folders (searched recursively) or quoted globs. In a FreeSurfer
        subject's folder, mri/T1.mgz is segmented, or else mri/orig.mgz; in a folder, zip archive or file of DICOM,
        the T1w 3D series.
    out
        Write the results to this folder.
    no_postprocess
        Keep small components of structures. By default every structure except lateral ventricles and CSF is reduced
        to one connected component.
    label_format
        Write label maps and posteriors in this format: nifti (.nii.gz) or mgz.
    series
        Segment the DICOM series with this number, whatever its contrast. By default the T1w-like 3D series is found.
    dicom_seg
        Also write a DICOM Segmentation (_dseg.dcm), which contains patient and study of the DICOM input.
    identify
        Write PatientID, PatientName, StudyDate and UIDs of DICOM input into the JSON. By default only a DICOM
        Segmentation identifies the person.
    """
    options = options or SegmentOptions()
    settings = options.settings(frame=frame, allow_odd_voxels=allow_odd_voxels, postprocess=not no_postprocess)
    if dicom_seg:
        check_installed()
    dicom = DicomOptions(series=series, segmentation=dicom_seg, identify=identify)
    return exit_code(do_jobs(find_jobs(inputs, out, label_format=label_format, dicom=dicom), settings, options))
