"""Sequential segmentation of many scans: a list of jobs, each with one scan and the names of its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TypeAlias, TypeVar

from lodbrain.errors import InputError, UsageError
from lodbrain.images.dicom_series import DicomSeries
from lodbrain.segmentation.dicom_inputs import DicomOptions, find_dicom_scans, on_disk
from lodbrain.segmentation.file_segmentation import check_existing, segment_file
from lodbrain.segmentation.inputs import find_scans, is_dicom_input
from lodbrain.segmentation.outcome import ScanOutcome, failure
from lodbrain.segmentation.outputs import LabelFormat, Outputs, check_writable, identities
from lodbrain.segmentation.read_ahead import ReadAhead
from lodbrain.segmentation.settings import Model, Settings, check_model, load_model
from lodbrain.segmentation.strip_jobs import StripJob
from lodbrain.system.progress import Progress


@dataclass(frozen=True, eq=False)
class Job:
    """One scan, and the names of its results. A job can be repeated, and killed at any time.

    Attributes
    ----------
    about : mapping or None
        Additional fields of the JSON files.
    problem : InputError or None
        Error that is known before any processing.
    also : tuple of Path
        Other names of the same file, which get no results of their own.
    series : DicomSeries or None
        What of a DICOM input is segmented.
    """

    path: Path
    outputs: Outputs
    about: Mapping[str, object] | None = None
    problem: InputError | None = None
    also: tuple[Path, ...] = ()
    series: DicomSeries | None = None
    messages: tuple[str, ...] = ()


def find_jobs(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    *,
    label_format: LabelFormat = "nifti",
    dicom: DicomOptions | None = None,
) -> list[Job]:
    """Return a job for each scan of files, folders and globs, as `find_scans` finds them, into one folder.

    If two scans share a stem, the folders below the common parent of all scans are mirrored in the output. DICOM comes
    after all other scans.

    Raises
    ------
    UsageError
        If no input is given, two scans of one folder have the same stem, or a DICOM Segmentation is wanted of a scan
        that is not DICOM.
    """
    folder, dicom = Path(out_dir), dicom or DicomOptions()
    scans = find_scans(inputs)
    others = [scan for scan in scans if not is_dicom_input(scan)]
    if dicom.segmentation and (odd := next((scan for scan in others if scan.problem is None), None)):
        what = "a DICOM Segmentation needs a DICOM series, which this is not"
        raise UsageError("dicom-seg", odd.path, what, "Leave out --dicom-seg, or name the DICOM files")
    jobs = [
        Job(
            scan.path,
            Outputs(folder / scan.folder, scan.stem, label_format),
            problem=scan.problem,
            also=scan.also,
        )
        for scan in others
    ]
    return jobs + [
        Job(
            found.path,
            Outputs(folder / found.folder, found.stem, label_format, with_dicom_seg=dicom.segmentation),
            about=found.about,
            problem=found.problem,
            series=found.series,
            messages=found.messages,
        )
        for found in find_dicom_scans([scan.path for scan in scans if is_dicom_input(scan)], dicom)
    ]


#: A job of a segmentation or of a brain extraction.
AnyJob = TypeVar("AnyJob", Job, StripJob)


def check_jobs(jobs: Sequence[AnyJob], settings: Settings) -> list[AnyJob]:
    """Return the jobs, with problems that are known before any processing."""
    inputs = identities(job.path for job in jobs)
    checked = []
    for job in jobs:
        try:
            if job.problem is None:
                check_existing(job.outputs, inputs, settings)
            checked.append(job)
        except InputError as error:
            checked.append(replace(job, problem=error))
    return checked


#: Function that writes the report page of a segmented scan; raises `InputError` if it fails.
MakePage: TypeAlias = Callable[[ScanOutcome], None]


def attempt(
    job: Job,
    settings: Settings,
    *,
    model: Model | None,
    progress: Progress | None = None,
    make_page: MakePage | None = None,
    ahead: ReadAhead | None = None,
) -> ScanOutcome:
    """Run one job and return its outcome; errors of the scan become an outcome.

    The model may be None if the job has a problem. `make_page` is called with the outcome of a complete segmentation.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all scans.
    """
    started = time.monotonic()
    complete: ScanOutcome | None = None
    try:
        if job.problem is not None:
            raise job.problem
        with on_disk(job.path, job.series) as (path, converted):
            complete = segment_file(
                path,
                job.outputs,
                settings,
                about=job.about,
                model=model,
                progress=progress,
                ahead=ahead,
                dicom=converted,
            )
            if make_page is not None:
                make_page(complete)
                complete = replace(complete, seconds=time.monotonic() - started)
        return replace(complete, path=job.path)
    except Exception as raised:
        error = failure(raised, job.path, "Set a smaller --memory")
    seconds = time.monotonic() - started
    if complete is not None:
        return replace(complete, path=job.path, seconds=seconds, page_error=error)
    return ScanOutcome(job.path, "failed", job.outputs, seconds=seconds, error=error)


def segment_jobs(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    finished: Callable[[ScanOutcome], None] | None = None,
    make_page: MakePage | None = None,
) -> list[ScanOutcome]:
    """Run jobs in this process, and return the outcomes in their order; a job that fails does not stop the others.

    `progress` is called with the share done of all scans, `finished` with each outcome as soon as its job ends.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all inputs. All but a full disk are raised before any processing.
    """
    settings = settings or Settings()
    jobs = check_jobs(jobs, settings)
    model, ahead = None, None
    if feasible := [job for job in jobs if job.problem is None]:
        check_model(settings)
        check_writable(feasible[0].outputs.folder)
        # Not with --resume, which may skip the scan, nor with a given budget, which is planned before voxels are read.
        if not settings.resume and settings.memory_bytes is None:
            ahead = ReadAhead(feasible[0].path, settings)
        model = load_model(settings)
    outcomes = []
    for number, job in enumerate(jobs):

        def report(share: float, text: str, *, number: int = number, name: str = job.path.name) -> None:
            if progress is not None:
                progress((number + share) / len(jobs), f"{name}: {text}")

        ready, ahead = (ahead, None) if job.problem is None else (None, ahead)
        outcomes.append(attempt(job, settings, model=model, progress=report, make_page=make_page, ahead=ready))
        if finished is not None:
            finished(outcomes[-1])
    return outcomes
