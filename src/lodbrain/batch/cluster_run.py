"""Execution of jobs on a cluster, with retries, tolerance of killed workers, and one outcome per job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import CancelledError, as_completed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from lodbrain.batch.cluster import Cluster, local_cluster, remote_cluster
from lodbrain.batch.tasks import Worker, absolute, do, prepare
from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError
from lodbrain.segmentation.jobs import Job, MakePage, check_jobs
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Settings, check_model
from lodbrain.system.progress import Progress, silent
from lodbrain.version import __version__

#: Codes of errors that may not recur on a retry, unlike those of invalid scans.
_WORTH_A_RETRY = ("memory", "busy", "bug", "lost")


@dataclass(frozen=True)
class Workplace:
    """Processes on this machine, with a folder for Dask's own files, or the address or file of a Dask scheduler."""

    processes: int = 1
    scheduler: str | None = None
    scratch: Path | None = None


def run_jobs(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    place: Workplace,
    progress: Progress = silent,
    finished: Callable[[ScanOutcome], None] = lambda outcome: None,
    say: Callable[[str], None] = lambda line: None,
    make_page: MakePage | None = None,
) -> list[ScanOutcome]:
    """Run jobs on several processes or machines and return their outcomes; one that fails does not stop the others.

    A scan whose worker is killed is passed on to another worker. A scan that fails because of memory, or
    unexpectedly, is retried once after the others. After an interruption no partial outputs are left on this machine;
    workers of an external scheduler finish their current scans.

    Parameters
    ----------
    settings : Settings, optional
        Threads and memory that are None are divided among the processes.
    finished : callable, optional
        Called with each outcome as soon as its job ends.
    say : callable, optional
        Called with a line that describes the workers.
    make_page : callable, optional
        Importable function, which the worker calls with the outcome of a complete segmentation.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all inputs.
    """
    settings = settings or Settings()
    jobs = check_jobs(jobs, settings)
    run = _Run(jobs, progress, finished, make_page)
    run.take({number: _failed(job, job.problem) for number, job in enumerate(jobs) if job.problem is not None})
    if feasible := [number for number, job in enumerate(jobs) if job.problem is None]:
        check_model(settings)
        check_writable(jobs[feasible[0]].outputs.folder)
        with _unfinished_removed(run, place), _cluster(place, len(feasible)) as cluster:
            if cluster.processes == 0:
                say(f"Waiting for workers of {place.scheduler}.")
            worker = _prepare_worker(cluster, settings)
            if place.scheduler is None:
                share = _per_process(settings, cluster.processes, free=worker.free_bytes, held=worker.held_bytes)
            else:
                share, cluster = settings, cluster.counted()
            say(_describe_workers(cluster, share))
            run.round(feasible, share, cluster)
            run.round(run.to_retry(memory=False), share, cluster)
            for number in run.to_retry(memory=True):  # one at a time, each with the memory of all processes
                run.round([number], replace(share, memory_bytes=settings.memory_bytes), cluster)
    return [run.outcomes[number] for number in range(len(jobs))]


class _Run:
    """State of a run: outcomes and retries, by number of the job."""

    def __init__(
        self,
        jobs: Sequence[Job],
        progress: Progress,
        finished: Callable[[ScanOutcome], None],
        make_page: MakePage | None = None,
    ) -> None:
        self.jobs, self.progress, self.finished, self.make_page = jobs, progress, finished, make_page
        self.outcomes: dict[int, ScanOutcome] = {}
        self.postponed: dict[int, LodbrainError] = {}
        self.retried: set[int] = set()

    def take(self, outcomes: dict[int, ScanOutcome]) -> None:
        """Record outcomes and report progress; failures that are worth a retry are postponed instead."""
        for number, outcome in outcomes.items():
            error = outcome.error or outcome.page_error
            if error is not None and error.code in _WORTH_A_RETRY and number not in self.retried:
                self.postponed[number] = error
                continue
            self.outcomes[number] = outcome
            self.finished(outcome)
        failed = sum(outcome.status == "failed" for outcome in self.outcomes.values())
        later = f", {len(self.postponed)} to be tried again" if self.postponed else ""
        text = f"{len(self.outcomes)} of {len(self.jobs)}{f', {failed} failed' if failed else ''}{later}"
        self.progress(len(self.outcomes) / len(self.jobs), text)

    def to_retry(self, *, memory: bool) -> list[int]:
        """Return the jobs to retry, those that ran out of memory or the others, and take them off the list."""
        numbers = [number for number, error in self.postponed.items() if (error.code == "memory") == memory]
        for number in numbers:
            del self.postponed[number]
        self.retried.update(numbers)
        return numbers

    def round(self, numbers: Sequence[int], settings: Settings, cluster: Cluster) -> None:
        """Run some of the jobs and collect their outcomes."""
        if not numbers:
            return
        client = cluster.client
        # Dask reruns the task of a lost worker, which may have written all files: complete outputs are kept
        settings_of_task = replace(settings, resume=not settings.overwrite)
        prefix = f"lodbrain-{os.getpid()}-{id(self)}-{'again' if numbers[0] in self.retried else 'first'}"
        futures = {
            client.submit(
                do, absolute(self.jobs[number]), settings_of_task, self.make_page, key=f"{prefix}-{number}", pure=False
            ): number
            for number in numbers
        }
        try:
            for future in as_completed(list(futures), loop=client.loop):
                number = futures.pop(future)
                self.take({number: self._outcome(number, future, settings)})
                future.release()
        except BaseException:
            with suppress(Exception):
                client.cancel(list(futures), force=True)
            raise

    def _outcome(self, number: int, future: object, settings: Settings) -> ScanOutcome:
        job = self.jobs[number]
        try:
            outcome: ScanOutcome = future.result()  # type: ignore[attr-defined]
        except (UsageError, WeightsError, OutputError):
            raise
        except KilledWorker as error:
            what = f"the process working on it was killed {error.allowed_failures + 1} times"
            hint = "Memory may have run out: process it alone, with fewer --jobs or a smaller --memory"
            return _failed(job, InputError("killed", job.path, what, hint))
        except (CancelledError, FutureCancelledError):
            what, hint = "the scheduler lost it", "Run the same command again with --resume"
            return _failed(job, InputError("lost", job.path, what, hint))
        except Exception as error:
            what = f"internal error: {type(error).__name__}: {error}"
            return _failed(job, LodbrainError("bug", job.path, what, "This is a bug: please report it"))
        # skipped, but not by the user's --resume: an earlier attempt of this run completed it
        status = "done" if outcome.status == "skipped" and not settings.resume else outcome.status
        return replace(
            outcome,
            path=job.path,
            outputs=job.outputs,
            status=status,
            error=_with_given_path(outcome.error, job),
            page_error=_with_given_path(outcome.page_error, job),
        )


@contextmanager
def _unfinished_removed(run: _Run, place: Workplace) -> Iterator[None]:
    """Remove the hidden folders left by killed workers of this machine, after the block.

    A folder that another process is using is kept.
    """
    try:
        yield
    finally:
        if place.scheduler is None:
            for number, job in enumerate(run.jobs):
                if number not in run.outcomes or run.outcomes[number].status == "failed":
                    with suppress(LodbrainError, OSError):
                        job.outputs.remove_unfinished()


def _cluster(place: Workplace, scans: int) -> AbstractContextManager[Cluster]:
    if place.scheduler is not None:
        return remote_cluster(place.scheduler)
    return local_cluster(min(place.processes, scans), scratch=place.scratch)


def _prepare_worker(cluster: Cluster, settings: Settings) -> Worker:
    """Load the model on one worker and return the worker's properties; errors concern all scans."""
    worker: Worker = cluster.client.submit(prepare, settings, pure=False).result()
    if worker.version != __version__:
        what = f"its workers have lodbrain {worker.version}, this is {__version__}"
        raise UsageError("version", None, what, "Install the same version everywhere")
    return worker


def _describe_workers(cluster: Cluster, settings: Settings) -> str:
    """Return a line that describes the workers.

    Examples
    --------
    >>> cluster = Cluster(None, 2, 1, "http://127.0.0.1:8787/status")
    >>> _describe_workers(cluster, Settings(threads=4, memory_bytes=3 * 2**30))
    '2 processes with 4 threads and 3.0 GiB each. Live: http://127.0.0.1:8787/status'
    """
    processes = f"{cluster.processes} process{'es' if cluster.processes != 1 else ''}"
    if cluster.machines > 1:
        processes += f" on {cluster.machines} machines"
    parts = []
    if settings.threads is not None:
        parts.append(f"{settings.threads} thread{'s' if settings.threads != 1 else ''}")
    if settings.memory_bytes is not None:
        parts.append(f"{settings.memory_bytes / 2**30:.1f} GiB")
    shares = f" with {' and '.join(parts)} each" if parts else ""
    live = f"Live: {cluster.dashboard}" if cluster.dashboard else "For a live dashboard: pip install bokeh"
    return f"{processes}{shares}. {live}"


def _per_process(settings: Settings, processes: int, *, free: int, held: int = 0) -> Settings:
    """Return the settings of one process: its share of cores and free memory, plus the memory it already holds."""
    threads = settings.threads or max(1, _cores() // processes)
    share = settings.memory_bytes // processes if settings.memory_bytes else held + free // processes
    return replace(settings, threads=threads, memory_bytes=max(1, share))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _failed(job: Job, error: LodbrainError) -> ScanOutcome:
    return ScanOutcome(job.path, "failed", job.outputs, error=error)


def _with_given_path(error: LodbrainError | None, job: Job) -> LodbrainError | None:
    """Return the error with the path of the scan or output as given by the user, not the worker's absolute path."""
    if error is None or error.path is None:
        return error
    there = absolute(job)
    named = {there.path: job.path, **dict(zip(there.outputs.all, job.outputs.all, strict=True))}
    return type(error)(error.code, named.get(Path(error.path), error.path), error.what, error.hint)
