"""Volumes in the formats of other programs: SynthSeg's table of many scans, FreeSurfer's aseg.stats."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from lodbrain.errors import InputError
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.results import Result, same_labels
from lodbrain.segmentation.volume_table import BRAIN, TIV
from lodbrain.version import __version__

#: SynthSeg's names that are not FreeSurfer's names in lower case with spaces.
_SYNTHSEG = {
    TIV: "total intracranial",
    "Brain-Stem": "brain-stem",
    "Left-Inf-Lat-Vent": "left inferior lateral ventricle",
    "Right-Inf-Lat-Vent": "right inferior lateral ventricle",
    "Left-VentralDC": "left ventral DC",
    "Right-VentralDC": "right ventral DC",
}

#: SynthSeg's columns: left and midline structures in the order of their indices, then right structures.
_ORDER = [TIV, *(label.name for label in STRUCTURES[1:] if label.side != "right")]
_ORDER += [label.name for label in STRUCTURES if label.side == "right"]


def subject_names(results: Sequence[Result]) -> list[str]:
    """Return the subject name of each result, so that tables can be joined with a participants.tsv of BIDS.

    The name of ``sub-06_T1w`` is ``sub-06``; if subjects have several scans, session and run are kept
    (``sub-06_ses-1``); if names are still not unique, the names of the results are used. Results without BIDS names
    always keep their own.
    """
    scans = [result.scan for result in results]
    for shorten in (lambda scan: scan.split("_")[0], _entities):
        names = [shorten(scan) if scan.startswith("sub-") else scan for scan in scans]
        if len(set(names)) == len(names):
            return names
    return scans


def _entities(scan: str) -> str:
    """Return the name without its suffix, and without the entities that the BIDS App adds."""
    return "_".join(word for word in scan.split("_") if "-" in word and not word.startswith(("seg-", "desc-")))


def volumes_csv(results: Sequence[Result], *, counted: bool = False) -> str:
    """Return a table in the format of SynthSeg's ``--vol``: a row for each scan, a column for each volume in mm^3.

    Parameters
    ----------
    counted : bool
        Whether to use volumes of counted voxels. Default: sums of posteriors, as in SynthSeg.

    Raises
    ------
    InputError
        If the results have different labels.

    Notes
    -----
    Columns of structures have SynthSeg's names and order; tissues and masks, which SynthSeg does not have, keep theirs.
    For the same reason brain (all but CSF) is omitted from tables of structures.
    """
    names = same_labels(results)
    columns = {name: name for name in names}
    if set(_ORDER) <= set(names):
        columns = {name: _SYNTHSEG.get(name) or name.replace("-", " ").lower() for name in _ORDER}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["subject", *columns.values()])
    for subject, result in zip(subject_names(results), results, strict=True):
        mm3 = {row.name: row.volume_mm3 if counted else row.soft_volume_mm3 for row in result.volumes}
        writer.writerow([subject, *(f"{mm3[name]:.3f}" for name in columns)])
    return file.getvalue()


def aseg_stats(result: Result, subject: str | None = None) -> str:
    """Return volumes in the format of FreeSurfer's ``aseg.stats``, which ``asegstats2table`` reads.

    Raises
    ------
    InputError
        If the result has no structures.

    Notes
    -----
    Volumes are counted voxels. eTIV is the segmented volume inside the skull, not derived from a registration as in
    FreeSurfer; BrainSeg is all structures but CSF. There are no intensity columns.
    """
    voxel_mm3 = float(result.sidecar["grid"]["voxel_volume_mm3"])
    mm3 = {row.name: row.volume_mm3 for row in result.volumes}
    if TIV not in mm3 or STRUCTURES[1].name not in mm3:
        what = "it has no structures, which aseg.stats needs"
        raise InputError("no-structures", result.outputs.labels, what, "Segment with --labels structures")
    caveat = next((row.note for row in result.volumes if row.name == TIV and row.note), None)
    lines = [
        "# Title Segmentation Statistics",
        "#",
        f"# generating_program lodbrain {__version__}",
        f"# subjectname {subject or result.scan}",
        f"# Measure BrainSeg, BrainSegVol, Brain Segmentation Volume, {mm3[BRAIN]:.6f}, mm^3",
        f"# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial Volume, {mm3[TIV]:.6f}, mm^3",
        *([f"# eTIV is {caveat}"] if caveat else []),
        f"# VoxelVolume_mm3 {voxel_mm3:g}",
    ]
    columns = ("Index", "SegId", "NVoxels", "Volume_mm3", "StructName")
    for number, name in enumerate(columns, start=1):
        lines.append(f"# TableCol {number} ColHeader {name}")
    lines += [f"# NRows {len(STRUCTURES) - 1}", f"# NTableCols {len(columns)}", f"# ColHeaders {' '.join(columns)}"]
    for number, label in enumerate(STRUCTURES[1:], start=1):
        count = round(mm3[label.name] / voxel_mm3)
        lines.append(f"{number:3d} {label.index:3d} {count:8d} {mm3[label.name]:12.1f}  {label.name}")
    return "\n".join(lines) + "\n"
