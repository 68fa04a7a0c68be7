"""What a worker does: one scan a task, with a model that it loads once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from distributed import get_worker

from lodbrain.segmentation.jobs import Job, MakePage, attempt
from lodbrain.segmentation.outcome import Outcome
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.system.memory import free_bytes, keep_freed_memory, resident_bytes
from lodbrain.version import __version__

#: Share of a worker's limit that a scan may plan with. Dask's nanny kills a worker at 95% of its limit.
_SHARE_OF_LIMIT = 0.85

#: One scan at a time in a process, however many threads Dask gives it: a scan uses them all.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Worker:
    """What a worker says of itself.

    Attributes
    ----------
    version : str
        Of lodbrain.
    free_bytes : int
        Memory that may be used on the device, with the model loaded.
    held_bytes : int
        What the process itself takes of the device's memory, with the model loaded; 0 on a GPU.
    """

    version: str
    free_bytes: int
    held_bytes: int = 0


def prepare(settings: Settings) -> Worker:
    """Load the model, and say what this worker is.

    Raises
    ------
    UsageError, WeightsError
        As `load_model`.
    """
    device = _model(_key(settings)).device
    return Worker(__version__, free_bytes(device), resident_bytes() if device == "cpu" else 0)


def do(job: Job, settings: Settings, make_page: MakePage | None = None) -> Outcome:
    """Return the outcome of one job; repeated after a killed worker, it keeps what is complete.

    Raises
    ------
    UsageError, WeightsError, OutputError
        What concerns every scan.
    """
    with _TURN:
        model = _model(_key(settings))
        return attempt(job, _on_this_worker(settings, model.device), model=model, make_page=make_page)


@lru_cache(maxsize=1)
def _model(settings: Settings) -> Model:
    keep_freed_memory()
    return load_model(settings)


def _key(settings: Settings) -> Settings:
    """Return what the model depends on: threads and memory don't load another."""
    return Settings(labels=settings.labels, model=settings.model, device=settings.device)


def _on_this_worker(settings: Settings, device: str) -> Settings:
    """Return the settings with threads and memory that suit the worker, where the user left them open."""
    worker = get_worker()
    if settings.threads is None:  # Dask tells torch of one thread only (OMP_NUM_THREADS)
        settings = replace(settings, threads=worker.state.nthreads)
    limit = worker.memory_manager.memory_limit
    if settings.memory_bytes is None and limit and device == "cpu":
        settings = replace(settings, memory_bytes=min(resident_bytes() + free_bytes(), int(limit * _SHARE_OF_LIMIT)))
    return settings


def absolute(job: Job) -> Job:
    """Return a job that means the same files in another working directory."""
    outputs = replace(job.outputs, folder=Path.cwd() / job.outputs.folder)
    return replace(job, path=Path.cwd() / job.path, outputs=outputs)
