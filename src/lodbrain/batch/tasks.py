"""Tasks of a worker: one scan per task, with a model that is loaded once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from distributed import get_worker

from lodbrain.segmentation.jobs import Job, MakePage, attempt
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.system.memory import free_bytes, keep_freed_memory, resident_bytes
from lodbrain.version import __version__

#: Share of a worker's memory limit that a scan may use. Dask's nanny kills a worker at 95% of its limit.
_SHARE_OF_LIMIT = 0.85

#: Limits a process to one scan at a time, which uses all threads that Dask assigns to the process.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Worker:
    """Version of lodbrain on a worker, its free memory with the model loaded, and its own (0 on a GPU), in bytes."""

    version: str
    free_bytes: int
    held_bytes: int = 0


def prepare(settings: Settings) -> Worker:
    """Load the model, and return the properties of this worker.

    Raises
    ------
    UsageError, WeightsError
        As in `load_model`.
    """
    device = _model(_key(settings)).device
    return Worker(__version__, free_bytes(device), resident_bytes() if device == "cpu" else 0)


def do(job: Job, settings: Settings, make_page: MakePage | None = None) -> ScanOutcome:
    """Run one job and return its outcome; if repeated after a worker was killed, complete outputs are kept.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all scans.
    """
    with _TURN:
        model = _model(_key(settings))
        return attempt(job, _on_this_worker(settings, model.device), model=model, make_page=make_page)


@lru_cache(maxsize=1)
def _model(settings: Settings) -> Model:
    keep_freed_memory()
    return load_model(settings)


def _key(settings: Settings) -> Settings:
    """Return the settings that the model depends on, so that others do not reload it."""
    return Settings(labels=settings.labels, model=settings.model, device=settings.device)


def _on_this_worker(settings: Settings, device: str) -> Settings:
    """Return the settings with threads and memory of the worker if the user did not set them."""
    worker = get_worker()
    if settings.threads is None:  # Dask limits torch to one thread (OMP_NUM_THREADS)
        settings = replace(settings, threads=worker.state.nthreads)
    limit = worker.memory_manager.memory_limit
    if settings.memory_bytes is None and limit and device == "cpu":
        settings = replace(settings, memory_bytes=min(resident_bytes() + free_bytes(), int(limit * _SHARE_OF_LIMIT)))
    return settings


def absolute(job: Job) -> Job:
    """Return the job with absolute paths, for use in another working directory."""
    outputs = replace(job.outputs, folder=Path.cwd() / job.outputs.folder)
    return replace(job, path=Path.cwd() / job.path, outputs=outputs)
