"""A Dask cluster inside of the test's own process, and a stand-in for the segmentation of one file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from lodbrain.batch import cluster as cluster_module
from lodbrain.batch import cluster_run as run_module
from lodbrain.batch import tasks
from lodbrain.batch.cluster import Cluster
from lodbrain.errors import InputError
from lodbrain.segmentation import jobs as jobs_module
from lodbrain.segmentation.jobs import Job
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.settings import Model, Settings


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        yield client


@pytest.fixture
def here(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """What would start processes gets this cluster, which is idle before the next test begins."""

    @contextmanager
    def cluster(place: run_module.Workplace, scans: int) -> Iterator[Cluster]:
        yield Cluster(client, 2, 1, None)

    monkeypatch.setattr(run_module, "_cluster", cluster)
    monkeypatch.setattr(tasks, "_model", lambda settings: Model(None, None, "cpu", "0" * 64))  # type: ignore[arg-type]
    monkeypatch.setattr(cluster_module, "local_cluster", None)  # nobody starts another
    yield client
    workers = client.cluster.workers.values()
    until = time.monotonic() + 20
    # The scheduler is asked, too: a task may be on its way to a worker that is still idle.
    known = client.cluster.scheduler.tasks
    while any(worker.state.executing or worker.state.ready for worker in workers) or any(
        task.state in ("waiting", "no-worker", "queued", "processing") for task in list(known.values())
    ):
        assert time.monotonic() < until, "a task of this test does not end"
        time.sleep(0.01)


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Settings]]:
    """Segmentation writes the name of the scan; a scan fails as its content says. Each call is listed."""
    calls: list[tuple[str, Settings]] = []

    def segment_file(path: Path, outputs: Outputs, settings: Settings, **options: object) -> ScanOutcome:
        first = sum(name == path.name for name, _ in calls) == 0
        calls.append((path.name, settings))
        match path.read_text():
            case "refused":
                raise InputError("empty", path, "the file is empty")
            case "bug":
                raise ZeroDivisionError("oops")
            case "bug once" if first:
                raise ZeroDivisionError("oops")
            case "memory once" if first:
                raise MemoryError
            case "memory":
                raise MemoryError
        status = "skipped" if outputs.sidecar.exists() and settings.resume else "done"
        outputs.sidecar.write_text(path.name)
        return ScanOutcome(path, status, outputs, seconds=0.5)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs_module, "segment_file", segment_file)
    return calls


@pytest.fixture
def make_jobs(tmp_path: Path) -> Callable[..., list[Job]]:
    """A function: files of the given contents, as jobs."""

    def make(*contents: str) -> list[Job]:
        jobs = []
        for number, content in enumerate(contents):
            path = tmp_path / f"s{number}.nii"
            path.write_text(content)
            jobs.append(Job(path, Outputs(tmp_path / "out", f"s{number}")))
        return jobs

    return make
