from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from distributed import Client

from lodbrain.batch import cluster_run as run_module
from lodbrain.batch import tasks
from lodbrain.batch.cluster import Cluster
from lodbrain.batch.cluster_run import Workplace, run_jobs
from lodbrain.segmentation.jobs import Job
from lodbrain.segmentation.settings import Settings

REMOTE = Workplace(scheduler="tcp://a:1")


def worker(*, nthreads: int = 4, limit: int | None = 10_000) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(nthreads=nthreads), memory_manager=SimpleNamespace(memory_limit=limit))


@pytest.mark.parametrize(
    ("limit", "free", "device", "expected"),
    [
        (10_000, 50_000, "cpu", 8_500),
        (10_000, 5_000, "cpu", 6_000),
        (None, 5_000, "cpu", None),
        (10_000, 9, "cuda", None),
    ],
)
def test_a_worker_plans_within_dasks_limit(
    limit: int | None, free: int, device: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "get_worker", lambda: worker(limit=limit))
    monkeypatch.setattr(tasks, "free_bytes", lambda: free)
    monkeypatch.setattr(tasks, "resident_bytes", lambda: 1_000)
    settings = tasks._on_this_worker(Settings(), device)
    assert (settings.threads, settings.memory_bytes) == (4, expected)


def test_what_the_user_says_holds_on_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "get_worker", worker)
    asked = Settings(threads=2, memory_bytes=99)
    assert tasks._on_this_worker(asked, "cpu") == asked


def test_the_model_is_loaded_once_whatever_threads_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Settings] = []
    monkeypatch.setattr(tasks, "load_model", loaded.append)
    monkeypatch.setattr(tasks, "keep_freed_memory", lambda: None)
    tasks._model.cache_clear()
    for settings in (Settings(threads=1), Settings(threads=2, resume=True), Settings(memory_bytes=5)):
        tasks._model(tasks._key(settings))
    tasks._model.cache_clear()
    assert loaded == [Settings()]


def test_a_cluster_elsewhere_is_asked_for_what_the_user_asked(
    here: Client, segmented: list[tuple[str, Settings]], make_jobs: Callable[..., list[Job]]
) -> None:
    lines: list[str] = []
    run_jobs(make_jobs("good"), Settings(threads=3), place=REMOTE, say=lines.append)
    (_, settings) = segmented[0]
    assert settings.threads == 3
    assert lines == ["2 processes with 3 threads each. For a live dashboard: pip install bokeh"]


def test_workers_that_come_late_are_waited_for_and_counted(
    here: Client,
    segmented: list[tuple[str, Settings]],
    make_jobs: Callable[..., list[Job]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def empty(place: Workplace, scans: int) -> Iterator[Cluster]:
        yield Cluster(here, 0, 0, None)

    monkeypatch.setattr(run_module, "_cluster", empty)
    lines: list[str] = []
    run_jobs(make_jobs("good", "good", "good"), place=REMOTE, say=lines.append)
    assert lines == ["Waiting for workers of tcp://a:1.", "2 processes. For a live dashboard: pip install bokeh"]
