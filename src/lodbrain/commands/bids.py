"""`lodbrain bids`: BIDS App."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lodbrain.commands.console import tell_error
from lodbrain.commands.many import do_jobs
from lodbrain.commands.options import SegmentOptions
from lodbrain.commands.parameters import Flag
from lodbrain.datasets import derivatives
from lodbrain.datasets.bids_scans import Choice, Found, find_bids_scans, read_filter, scan_at
from lodbrain.datasets.bids_scans import labels as bare_labels
from lodbrain.datasets.smriprep import several_sessions, smriprep_stem, usable_by_smriprep
from lodbrain.errors import InputError, UsageError, shown
from lodbrain.report.segment_pages import check_installed
from lodbrain.segmentation.jobs import Job, check_jobs
from lodbrain.segmentation.outcome import exit_code
from lodbrain.segmentation.outputs import Outputs, check_writable
from lodbrain.segmentation.results import GROUP_VOLUMES, Result, find_results, same_labels
from lodbrain.segmentation.settings import Settings
from lodbrain.system.atomic import write_text
from lodbrain.system.records import json_text

#: Spelled as in fMRIPrep and in the BIDS Apps' template.
_SKIP = ["--skip-bids-validation", "--skip_bids_validation", "--skip_bids_validator"]


def bids(
    bids_dir: Annotated[Path, Parameter(name="BIDS_DIR")],
    out: Annotated[Path, Parameter(name="OUT")],
    level: Annotated[Literal["participant", "group"], Parameter(name="LEVEL")],
    /,
    *,
    participant_label: Annotated[
        list[str] | None,
        Parameter(name=["--participant-label", "--participant_label"], consume_multiple=True, negative=""),
    ] = None,
    session_id: Annotated[
        list[str] | None,
        Parameter(name=["--session-id", "--session-label", "--session_label"], consume_multiple=True, negative=""),
    ] = None,
    bids_filter_file: Path | None = None,
    pipeline: Annotated[Literal["smriprep"] | None, Parameter(name="--for")] = None,
    dry_run: Flag = False,
    work_dir: Annotated[Path | None, Parameter(name=["--work-dir", "-w"])] = None,
    skip_bids_validation: Annotated[Flag, Parameter(name=_SKIP)] = False,
    options: SegmentOptions | None = None,
) -> int:
    """Segment the T1w-like scans (T1w and UNIT1) of a BIDS dataset, all runs and sessions, on their own grids.

    At level participant, each sub-X[_ses-Y]..._T1w.nii.gz gives sub-X[_ses-Y]..._seg-lodbrain_desc-T1w with
    _dseg.nii.gz (label map), _dseg.tsv (names and colours), _volumes.tsv (mm^3) and _dseg.json (provenance), in the
    same folders below OUT. Level group writes OUT/group_volumes.tsv and OUT/group_quality.tsv of all finished scans,
    and with --report the missing pages and OUT/index.html.

    Parameters
    ----------
    bids_dir
        Segment the scans of this BIDS dataset; nothing is written into it.
    out
        Write the derivatives to this folder, such as BIDS_DIR/derivatives/lodbrain.
    level
        Run this analysis level: participant or group.
    participant_label
        Process only these participants, with or without sub-. Default: all.
    session_id
        Process only these sessions, with or without ses-. Default: all.
    bids_filter_file
        Select scans by a JSON filter in fMRIPrep's format; its entry t1w is used, such as {"t1w": {"acquisition":
        "mprage"}}. Default: no filter.
    pipeline
        Also write what this pipeline reuses. For smriprep (sMRIPrep and fMRIPrep), this is a brain mask, a
        segmentation into GM, WM and CSF, and three probability maps of each T1w, for --derivatives OUT. By default
        nothing is written for other pipelines.
    dry_run
        Print what would be done without doing it.
    work_dir
        Write temporary files of --jobs to this folder. Default: the system's temporary folder.
    skip_bids_validation
        Accept this option for compatibility with BIDS Apps; the dataset is never validated.
    """
    options = options or SegmentOptions()
    if level == "group":
        return _group(bids_dir, out, options, dry_run=dry_run)
    settings = options.settings(tissue_maps=pipeline == "smriprep")
    filters = read_filter(bids_filter_file) if bids_filter_file is not None else {}
    if pipeline == "smriprep":
        filters = {"suffix": "T1w", **filters}  # it does not look for UNIT1
    choice = Choice(bare_labels(participant_label or (), "sub"), bare_labels(session_id or (), "ses"), filters)
    jobs, found = plan_participants(bids_dir, out, choice, tissue_maps=settings.tissue_maps)
    for line in () if options.quiet else _remarks(found, tissue_maps=settings.tissue_maps):
        print(line, flush=True)
    if not jobs:
        what = "no T1w-like scan of this dataset is selected"
        raise InputError("no-scans", bids_dir, what, "List the scans with --dry-run and fewer filters")
    if dry_run:
        return _show(jobs, settings)
    check_writable(out)
    derivatives.begin(bids_dir, out)
    if work_dir is not None:
        check_writable(work_dir)
    return exit_code(do_jobs(jobs, settings, options, scratch=work_dir))


def _group(bids_dir: Path, out: Path, options: SegmentOptions, *, dry_run: bool) -> int:
    if dry_run:
        pages = f", and {out / 'index.html'}" if options.report else ""
        print(f"would write {out / 'group_volumes.tsv'} and {out / 'group_quality.tsv'}{pages}")
        return 0
    if options.report:
        check_installed()
    written = write_group(out)
    if not options.quiet:
        print(*(path for path in written if path.suffix == ".tsv"), sep="\n")
    if not options.report:
        return 0
    from lodbrain.commands.report import report

    return report(out, scans=[bids_dir], overwrite=options.overwrite, quiet=options.quiet)


def _remarks(found: Found, *, tissue_maps: bool) -> Iterator[str]:
    """Yield a line on what is left out, and on which option sMRIPrep needs."""

    def first_ten(names: Sequence[str]) -> str:
        return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")

    if found.without:
        yield f"skipped, without such a scan: {len(found.without)} participant(s), {first_ten(found.without)}"
    for copy, scan in found.copies:
        yield f"skipped, a copy in another space: {shown(copy.relative)}; {shown(scan.relative)} is used"
    if tissue_maps and (several := several_sessions(found.scans)):
        hint = "give sMRIPrep --subject-anatomical-reference sessionwise"
        yield f"scans of several sessions: {first_ten(several)}; {hint}"


def _show(jobs: Sequence[Job], settings: Settings) -> int:
    """Print what would be done, and return the exit status as far as it is known in advance."""
    jobs = check_jobs(jobs, settings)
    for job in jobs:
        if job.problem is not None:
            tell_error(job.problem)
        else:
            print(f"{job.path} -> {job.outputs.labels}{' (is there)' if job.outputs.existing() else ''}", flush=True)
    failed = sum(job.problem is not None for job in jobs)
    print(f"{len(jobs) - failed} to do" + (f", {failed} cannot be done" if failed else "") + "; nothing was written")
    return 0 if not failed else 4 if failed == len(jobs) else 3


#: Columns of the group's tables that identify a row's scan, in addition to the results' name.
_KEYS = {"sub": "participant_id", "ses": "session_id"}


def plan_participants(
    bids_dir: Path, out: Path, choice: Choice | None = None, *, tissue_maps: bool = False
) -> tuple[list[Job], Found]:
    """Return a job for each scan of a dataset, also for those that cannot be processed, and the search's result.

    With `tissue_maps`, brain mask and maps of tissues are to be written for sMRIPrep, too.

    Raises
    ------
    InputError
        If there is no such dataset.
    UsageError
        If `out` holds another dataset, or two scans would have the same results.
    """
    derivatives.check_out(bids_dir, out)
    found = find_bids_scans(bids_dir, choice)
    jobs: dict[Path, Job] = {}
    for scan in usable_by_smriprep(found.scans, out) if tissue_maps else found.scans:
        outputs = Outputs(out / scan.folder, scan.stem, tissue_stem=smriprep_stem(scan) if tissue_maps else "")
        job = Job(scan.path, outputs, derivatives.about(scan), scan.problem)
        if outputs.labels in jobs:
            what = f"its outputs would have the same names as those of {jobs[outputs.labels].path}"
            hint = 'Choose one with --bids-filter-file, such as {"t1w": {"extension": ".nii.gz"}}'
            raise UsageError("same-stem", scan.path, what, hint)
        jobs[outputs.labels] = job
    return list(jobs.values()), found


def write_group(out: Path) -> tuple[Path, ...]:
    """Write the group's tables of all finished scans, with a row for each, and return their paths.

    ``group_volumes.tsv`` has volumes in mm^3 from voxel counts; ``group_quality.tsv`` voxel size, QC warnings and the
    number of notes. A JSON beside each describes its columns.

    Raises
    ------
    InputError
        If nothing is finished, or results have different labels.
    """
    results = find_results([out])
    names = same_labels(results)
    volumes = [{name: row.volume_mm3 for name, row in zip(names, result.volumes, strict=True)} for result in results]
    tables = {
        GROUP_VOLUMES.removesuffix(".tsv"): (volumes, {name: "Volume of counted voxels, in mm^3" for name in names}),
        "group_quality": ([_quality(result) for result in results], _QUALITY),
    }
    texts: dict[Path, str] = {}
    for table, (rows, meanings) in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines = ["\t".join([*_KEYS.values(), "results", *columns])]
        for result, row in zip(results, rows, strict=True):
            cells = [_cell(row.get(column)) for column in columns]
            lines.append("\t".join([*_keys(result), result.scan, *cells]))
        about = {column: {"Description": meanings[column]} for column in columns}
        texts[out / f"{table}.tsv"] = "\n".join(lines) + "\n"
        texts[out / f"{table}.json"] = json_text(about)
    for path, text in texts.items():
        write_text(path, text)
    return tuple(texts)


_QUALITY = {
    "spacing_x_mm": "Voxel size along the first axis, in mm",
    "spacing_y_mm": "Voxel size along the second axis, in mm",
    "spacing_z_mm": "Voxel size along the third axis, in mm",
    "confidence": "Mean posterior of the assigned label in the brain; low if the model is uncertain",
    "brain_ml": "Brain volume of the label map, in ml",
    "coarse_brain_ml": "Brain volume of the coarsest level, in ml; should be similar",
    "moved_share": "Voxels of small components relabelled as the surrounding structure, per brain voxel",
    "score": "Predicted mean Dice of the six tissues, from the quality measures",
    "least_confidence": "Mean posterior of the assigned label in the least certain of the six tissues",
    "border_entropy": "Mean entropy, in bits, of brain voxels that touch another class",
    "volume_misfit": "Mean over structures of the log ratio by which a volume lies outside its range",
    "asymmetry": "Mean relative left-right difference of the paired structures",
    "cut_mm2": "Area of brain at the edges of the scan, in mm^2, where it is cut off",
    "signs": "Number of QC warnings; see the reasons in the JSON of each result",
    "notes": "Number of notes on corrections of the input and deviations in processing; see the JSON of each result",
    "seconds": "Seconds of the segmentation",
}


def _quality(result: Result) -> dict[str, float]:
    """Return a row of the quality table: measures, and the numbers of reasons and notes."""
    x, y, z = result.sidecar["grid"]["spacing_mm"]
    quality = {name: value for name, value in result.sidecar["quality"].items() if name in _QUALITY}
    return {
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "spacing_z_mm": z,
        **quality,
        "signs": len(result.sidecar["quality"].get("reasons", ())),
        "notes": len(result.sidecar["notes"]),
        "seconds": result.sidecar["execution"]["seconds"]["total"],
    }


def _keys(result: Result) -> list[str]:
    entities = scan_at(result.scan).entities
    return [f"{name}-{entities[name]}" if name in entities else "n/a" for name in _KEYS]


def _cell(value: object) -> str:
    """Format with six significant digits, so that small shares are not 0; large volumes are rounded to integers."""
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)
