"""`lodbrain bids`: BIDS App."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lodbrain.cli.many import do_jobs
from lodbrain.cli.options import SegmentOptions
from lodbrain.cli.switches import Flag
from lodbrain.datasets import derivatives
from lodbrain.datasets.bids import Choice, read_filter
from lodbrain.datasets.bids import labels as bare_labels
from lodbrain.errors import InputError, shown
from lodbrain.segmentation.jobs import check_jobs
from lodbrain.segmentation.outcome import exit_code
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Settings
from lodbrain.workflows.bids_app import Participants, plan_participants, write_group
from lodbrain.workflows.pages import check_installed

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
    dry_run: Flag = False,
    work_dir: Annotated[Path | None, Parameter(name=["--work-dir", "-w"])] = None,
    skip_bids_validation: Annotated[Flag, Parameter(name=_SKIP)] = False,
    options: SegmentOptions | None = None,
) -> int:
    """Segment the T1w-like scans (T1w and UNIT1) of a BIDS data set, all runs and sessions, on their own grids.

    At level participant, each sub-X[_ses-Y]..._T1w.nii.gz gives sub-X[_ses-Y]..._seg-lodbrain_desc-T1w with
    _dseg.nii.gz (label map), _dseg.tsv (names and colours), _volumes.tsv (mm^3) and _dseg.json (provenance), in the
    same folders below OUT. Level group writes OUT/group_volumes.tsv and OUT/group_quality.tsv of all finished scans,
    and with --report the missing pages and OUT/index.html.

    Parameters
    ----------
    bids_dir
        BIDS data set; nothing is written into it.
    out
        Folder for the derivatives, such as BIDS_DIR/derivatives/lodbrain.
    level
        Analysis level: participant or group.
    participant_label
        Process only these participants, with or without sub-. Default: all.
    session_id
        Process only these sessions, with or without ses-. Default: all.
    bids_filter_file
        JSON filter in fMRIPrep's format; its entry t1w is used, such as {"t1w": {"acquisition": "mprage"}}.
    dry_run
        Print what would be done without doing it.
    work_dir
        Folder for temporary files of --jobs. Default: the system's temporary folder.
    skip_bids_validation
        Accepted for compatibility with BIDS Apps; the data set is not validated.
    """
    options = options or SegmentOptions()
    if level == "group":
        return _group(bids_dir, out, options, dry_run=dry_run)
    settings = options.settings()
    choice = Choice(
        bare_labels(participant_label or (), "sub"),
        bare_labels(session_id or (), "ses"),
        read_filter(bids_filter_file) if bids_filter_file is not None else {},
    )
    plan = plan_participants(bids_dir, out, choice)
    if plan.without and not options.quiet:
        named = ", ".join(plan.without[:10]) + (" ..." if len(plan.without) > 10 else "")
        print(f"left out, without such a scan: {len(plan.without)} participant(s), {named}", flush=True)
    for copy, scan in () if options.quiet else plan.copies:
        print(f"left out, a copy in another space: {shown(copy)}; {shown(scan)} is taken", flush=True)
    if not plan.jobs:
        what = "no T1w-like scan of this data set is wanted"
        raise InputError("no-scans", bids_dir, what, "See what there is with --dry-run and fewer filters")
    if dry_run:
        return _show(plan, settings)
    check_writable(out)
    derivatives.begin(bids_dir, out)
    if work_dir is not None:
        check_writable(work_dir)
    return exit_code(do_jobs(plan.jobs, settings, options, scratch=work_dir))


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
    from lodbrain.cli.report import report

    return report(out, scans=[bids_dir], overwrite=options.overwrite, quiet=options.quiet)


def _show(plan: Participants, settings: Settings) -> int:
    """Print what would be done, and return the exit status as far as it is known in advance."""
    jobs = check_jobs(plan.jobs, settings)
    for job in jobs:
        if job.problem is not None:
            print(f"lodbrain: {job.problem}", file=sys.stderr, flush=True)
        else:
            print(f"{job.path} -> {job.outputs.labels}{' (is there)' if job.outputs.existing() else ''}", flush=True)
    failed = sum(job.problem is not None for job in jobs)
    print(f"{len(jobs) - failed} to do" + (f", {failed} cannot be done" if failed else "") + "; nothing was written")
    return 0 if not failed else 4 if failed == len(jobs) else 3
