"""A BIDS data set in, a derivative data set out: participants one by one, then the group's tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lodbrain.datasets import derivatives
from lodbrain.datasets.bids import Choice, find_bids_scans, scan_at
from lodbrain.errors import UsageError
from lodbrain.images.atomic import write_text
from lodbrain.inference.jobs import Job
from lodbrain.inference.outputs import Outputs
from lodbrain.inference.results import Result, find_results, same_labels

#: Columns of the group's tables that say which scan a row is about, besides the results' name.
_KEYS = {"sub": "participant_id", "ses": "session_id"}


@dataclass(frozen=True)
class Participants:
    """What is to be done at the participant level.

    Attributes
    ----------
    jobs : tuple of Job
        One for each scan, those that cannot be done among them.
    without : tuple of str
        Participants that have no T1w-like scan.
    """

    jobs: tuple[Job, ...]
    without: tuple[str, ...]


def plan_participants(bids_dir: Path, out: Path, choice: Choice | None = None) -> Participants:
    """Return the jobs of a data set, without writing anything.

    Parameters
    ----------
    bids_dir, out : Path
        The data set, and the folder of the derivatives.
    choice : Choice, optional
        Which scans.

    Raises
    ------
    InputError
        If there is no such data set.
    UsageError
        If `out` holds another data set, or two scans would have the same results.
    """
    derivatives.check_out(bids_dir, out)
    found = find_bids_scans(bids_dir, choice)
    jobs: dict[Path, Job] = {}
    for scan in found.scans:
        outputs = Outputs(out / scan.folder, scan.stem)
        job = Job(scan.path, outputs, derivatives.about(scan), scan.problem)
        if outputs.labels in jobs:
            what = f"its outputs would have the same names as those of {jobs[outputs.labels].path}"
            hint = 'Choose one with --bids-filter-file, such as {"t1w": {"extension": ".nii.gz"}}'
            raise UsageError("same-stem", scan.path, what, hint)
        jobs[outputs.labels] = job
    return Participants(tuple(jobs.values()), found.without)


def write_group(out: Path) -> tuple[Path, ...]:
    """Write the group's tables of what is finished, a row for each scan, and return their paths.

    ``group_volumes.tsv`` has counted volumes in mm^3; ``group_quality.tsv`` voxel size, signs of trouble and how many
    notes there are. A JSON beside each says what its columns are.

    Raises
    ------
    InputError
        If nothing is finished, or results have different labels.
    """
    results = find_results([out])
    names = same_labels(results)
    volumes = [{name: row.volume_mm3 for name, row in zip(names, result.volumes, strict=True)} for result in results]
    tables = {
        "group_volumes": (volumes, {name: "Volume of counted voxels, in mm^3" for name in names}),
        "group_quality": ([_quality(result) for result in results], _QUALITY),
    }
    texts: dict[Path, str] = {}
    for table, (rows, meanings) in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines = ["\t".join([*_KEYS.values(), "results", *columns])]
        for result, row in zip(results, rows, strict=True):
            cells = [_cell(row.get(column)) for column in columns]
            lines.append("\t".join([*_keys(result), result.scan, *cells]))
        about = {column: {"Description": meanings.get(column, "See the documentation")} for column in columns}
        texts[out / f"{table}.tsv"] = "\n".join(lines) + "\n"
        texts[out / f"{table}.json"] = json.dumps(about, indent=2) + "\n"
    for path, text in texts.items():
        write_text(path, text)
    return tuple(texts)


_QUALITY = {
    "spacing_x_mm": "Voxel size along the first axis, in mm",
    "spacing_y_mm": "Voxel size along the second axis, in mm",
    "spacing_z_mm": "Voxel size along the third axis, in mm",
    "confidence": "Mean posterior of the chosen label inside of the brain: low where the model hesitates",
    "brain_ml": "Volume of the brain in the label map, in ml",
    "coarse_brain_ml": "Volume of the brain as the coarsest level saw it, in ml: should be alike",
    "moved_share": "Share of the brain's voxels that lost their label as pieces away from the largest",
    "notes": "How many things were found in the scan and mended, or done differently; see the JSON of each result",
    "seconds": "Time that the segmentation took",
}


def _quality(result: Result) -> dict[str, float]:
    x, y, z = result.sidecar["grid"]["spacing_mm"]
    return {
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "spacing_z_mm": z,
        **result.sidecar["quality"],
        "notes": len(result.sidecar["notes"]),
        "seconds": result.sidecar["run"]["seconds"]["total"],
    }


def _keys(result: Result) -> list[str]:
    entities = scan_at(result.scan).entities
    return [f"{name}-{entities[name]}" if name in entities else "n/a" for name in _KEYS]


def _cell(value: float | None) -> str:
    return (
        "n/a" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    )
