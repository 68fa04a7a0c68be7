"""Sequential segmentation of many scans: a list of jobs, each with one scan and the names of its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from lodbrain.errors import InputError
from lodbrain.segmentation.inputs import find_scans
from lodbrain.segmentation.outcome import Outcome, failure
from lodbrain.segmentation.outputs import Outputs, check_writable, identities
from lodbrain.segmentation.read_ahead import ReadAhead
from lodbrain.segmentation.scan import Progress
from lodbrain.segmentation.segment import check_existing, segment_file
from lodbrain.segmentation.settings import Model, Settings, check_model, load_model


@dataclass(frozen=True, eq=False)
class Job:
    """One scan, and the names of its results. A job can be repeated, and killed at any time.

    Attributes
    ----------
    path : Path
        The scan.
    outputs : Outputs
        Names of the files to write.
    about : mapping or None
        Additional fields of the JSON files.
    problem : InputError or None
        Error that is known before any processing.
    also : tuple of Path
        Other names of the same file, which get no separate results.
    """

    path: Path
    outputs: Outputs
    about: Mapping[str, object] | None = None
    problem: InputError | None = None
    also: tuple[Path, ...] = ()


def find_jobs(inputs: Iterable[str | PathLike[str]], out_dir: str | PathLike[str]) -> list[Job]:
    """Return a job for each scan of files, folders and globs, as `find_scans` finds them, into one folder.

    If two scans share a stem, the folders below the common parent of all scans are mirrored in the output.

    Raises
    ------
    UsageError
        If no input is given, or two scans of one folder have the same stem.
    """
    folder = Path(out_dir)
    return [
        Job(scan.path, Outputs(folder / scan.folder, scan.stem), problem=scan.problem, also=scan.also)
        for scan in find_scans(inputs)
    ]


def check_jobs(jobs: Sequence[Job], settings: Settings) -> list[Job]:
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
MakePage: TypeAlias = Callable[[Outcome], None]


def attempt(
    job: Job,
    settings: Settings,
    *,
    model: Model | None,
    progress: Progress | None = None,
    make_page: MakePage | None = None,
    ahead: ReadAhead | None = None,
) -> Outcome:
    """Run one job and return its outcome; errors of the scan become an outcome.

    Parameters
    ----------
    job : Job
    settings : Settings
    model : Model or None
        None if the job has a problem.
    progress : callable, optional
        Called with the share done and a short text.
    make_page : callable, optional
        Called with the outcome if the segmentation is complete.
    ahead : ReadAhead, optional
        Reader that has started to read the scan.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all scans.
    """
    started = time.monotonic()
    complete: Outcome | None = None
    try:
        if job.problem is not None:
            raise job.problem
        complete = segment_file(
            job.path,
            job.outputs.folder,
            settings,
            stem=job.outputs.stem,
            about=job.about,
            model=model,
            progress=progress,
            ahead=ahead,
        )
        if make_page is None:
            return complete
        make_page(complete)
        return replace(complete, seconds=time.monotonic() - started)
    except Exception as raised:
        error = failure(raised, job.path, "Set a smaller --memory")
    seconds = time.monotonic() - started
    if complete is not None:
        return replace(complete, seconds=seconds, page_error=error)
    return Outcome(job.path, "failed", job.outputs, seconds=seconds, error=error)


def segment_jobs(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
    make_page: MakePage | None = None,
) -> list[Outcome]:
    """Run jobs in this process; a job that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
    settings : Settings, optional
    progress : callable, optional
        Called with the share done of all scans, and a short text.
    finished : callable, optional
        Called with each outcome as soon as its job ends.
    make_page : callable, optional
        As in `attempt`.

    Returns
    -------
    list of Outcome
        In the order of the jobs.

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


def segment_files(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Segment files, folders and globs into a folder; parameters as in `find_jobs` and `segment_jobs`."""
    return segment_jobs(find_jobs(inputs, out_dir), settings, progress=progress, finished=finished)
