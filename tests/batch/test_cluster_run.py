import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client
from distributed.scheduler import KilledWorker

from lodbrain.batch import cluster_run as module
from lodbrain.batch.cluster_run import Workplace, run_jobs
from lodbrain.errors import InputError, OutputError, UsageError
from lodbrain.segmentation import jobs as jobs_module
from lodbrain.segmentation.jobs import Job
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.settings import Settings

Calls = list[tuple[str, Settings]]
Make = Callable[..., list[Job]]
HERE = Workplace(processes=2)


def test_each_scan_is_done_once_and_refused_ones_are_named_and_not_retried(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    jobs = make_jobs("good", "refused", "good", "good")
    heard: list[ScanOutcome] = []
    outcomes = run_jobs(jobs, place=HERE, finished=heard.append)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "done"]
    assert [outcome.path for outcome in outcomes] == [job.path for job in jobs]
    assert str(outcomes[1].error) == f"{jobs[1].path}: the file is empty"
    assert sorted(name for name, _ in segmented) == ["s0.nii", "s1.nii", "s2.nii", "s3.nii"]
    assert sorted(outcome.path for outcome in heard) == sorted(job.path for job in jobs)


def test_what_fails_unexpectedly_is_tried_once_more_and_then_set_aside(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    heard: list[ScanOutcome] = []
    outcomes = run_jobs(make_jobs("bug", "bug once", "good"), place=HERE, finished=heard.append)
    assert [outcome.status for outcome in outcomes] == ["failed", "done", "done"]
    assert "ZeroDivisionError: oops" in str(outcomes[0].error)
    names = [name for name, _ in segmented]
    assert [names.count(f"s{number}.nii") for number in range(3)] == [2, 2, 1]
    assert len(heard) == 3  # a first failure is not reported


def test_what_ran_out_of_memory_is_tried_again_alone_with_the_whole_budget(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    settings = Settings(memory_bytes=4_000_000, threads=1)
    outcomes = run_jobs(make_jobs("memory once", "memory", "good"), settings, place=HERE)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "not enough memory" in str(outcomes[1].error)
    budgets = {name: [asked.memory_bytes for other, asked in segmented if other == name] for name, _ in segmented}
    assert budgets == {"s0.nii": [2_000_000, 4_000_000], "s1.nii": [2_000_000, 4_000_000], "s2.nii": [2_000_000]}


def test_results_that_a_lost_worker_completed_count_as_done_in_this_run(
    here: Client, segmented: Calls, make_jobs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs("good")
    before = module.check_jobs

    def completed_meanwhile(jobs: list[Job], settings: Settings) -> list[Job]:
        checked = before(jobs, settings)
        jobs[0].outputs.folder.mkdir()
        jobs[0].outputs.sidecar.write_text("complete")
        return checked

    monkeypatch.setattr(module, "check_jobs", completed_meanwhile)
    assert [outcome.status for outcome in run_jobs(jobs, place=HERE)] == ["done"]
    assert jobs[0].outputs.sidecar.read_text() == "s0.nii"


def test_existing_outputs_fail_without_resume_and_are_skipped_with_it(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    jobs = make_jobs("good", "good")
    jobs[0].outputs.folder.mkdir()
    jobs[0].outputs.sidecar.write_text("complete")
    first = run_jobs(jobs, place=HERE)
    assert [outcome.status for outcome in first] == ["failed", "done"]
    assert "exists already" in str(first[0].error)
    again = run_jobs(jobs, Settings(resume=True), place=HERE)
    assert [outcome.status for outcome in again] == ["skipped", "skipped"]


def test_a_full_disk_ends_the_run_with_its_own_error(
    here: Client, segmented: Calls, make_jobs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> ScanOutcome:
        raise OutputError("disk-full", "out", "the disk is full")

    monkeypatch.setattr(jobs_module, "segment_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        run_jobs(make_jobs("good", "good", "good"), place=HERE)


def test_a_scan_whose_workers_are_killed_is_set_aside_with_advice(make_jobs: Make) -> None:
    (job,) = make_jobs("good")
    run = module._Run([job], lambda share, text: None, lambda outcome: None)

    class Future:
        def result(self) -> ScanOutcome:
            raise KilledWorker("task", None, 2)  # type: ignore[arg-type]

    outcome = run._outcome(0, Future(), Settings())
    assert str(outcome.error) == (
        f"{job.path}: the process working on it was killed 3 times. Memory may have run out: process it alone, "
        "with fewer --jobs or a smaller --memory"
    )


def test_workers_of_another_version_are_refused(
    here: Client, segmented: Calls, make_jobs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "__version__", "9.9")
    with pytest.raises(UsageError, match=r"workers have lodbrain .*, this is 9\.9"):
        run_jobs(make_jobs("good"), place=HERE)
    assert segmented == []


def test_messages_name_scans_as_the_user_did(
    here: Client, segmented: Calls, make_jobs: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (job,) = make_jobs("refused")
    monkeypatch.chdir(tmp_path)
    (outcome,) = run_jobs([Job(Path("s0.nii"), job.outputs)], place=HERE)
    assert str(outcome.error) == "s0.nii: the file is empty"


def note(outcome: ScanOutcome) -> None:
    """A page that says which threads made it; one is refused, one is a bug, as the scan's content says."""
    if outcome.path.read_text() == "no table":
        raise InputError("no-table", outcome.outputs.table, "the table is missing")
    with outcome.outputs.report.open("a") as file:
        file.write(threading.current_thread().name + "\n")
    if outcome.path.read_text() == "page bug":
        raise ZeroDivisionError("oops")


def test_the_worker_of_a_scan_makes_its_page_also_of_one_that_is_complete(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    jobs = make_jobs("good", "refused", "good")
    run_jobs(jobs, place=HERE, make_page=note)
    pages = [job.outputs.report for job in jobs]
    assert [page.exists() for page in pages] == [True, False, True]
    assert threading.main_thread().name not in pages[0].read_text()
    pages[2].unlink()
    outcomes = run_jobs(jobs, Settings(resume=True), place=HERE, make_page=note)
    assert [outcome.status for outcome in outcomes] == ["skipped", "failed", "skipped"]
    assert pages[2].exists()


def test_a_page_that_cannot_be_made_leaves_its_segmentation_done_and_is_named_as_the_user_did(
    here: Client, segmented: Calls, make_jobs: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = make_jobs("no table", "page bug")
    jobs = [Job(Path(job.path.name), Outputs(Path("out"), job.outputs.stem)) for job in made]
    outcomes = run_jobs(jobs, place=HERE, make_page=note)
    assert [(outcome.status, outcome.error) for outcome in outcomes] == [("done", None), ("done", None)]
    assert str(outcomes[0].page_error) == "out/s0_dseg.tsv: the table is missing"
    assert "ZeroDivisionError: oops" in str(outcomes[1].page_error)
    assert len(Path("out/s1_report.html").read_text().splitlines()) == 2  # what is unexpected is tried once more


def test_the_share_done_and_the_counts_are_reported(here: Client, segmented: Calls, make_jobs: Make) -> None:
    heard: list[tuple[float, str]] = []
    run_jobs(make_jobs("good", "bug", "refused"), place=HERE, progress=lambda share, text: heard.append((share, text)))
    assert heard[-1] == (1.0, "3 of 3, 2 failed")
    assert any("1 to be tried again" in text for _, text in heard)
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)


def test_the_user_is_told_where(here: Client, segmented: Calls, make_jobs: Make) -> None:
    lines: list[str] = []
    run_jobs(make_jobs("good", "good", "good"), Settings(threads=1, memory_bytes=2**31), place=HERE, say=lines.append)
    assert lines == ["2 processes with 1 thread and 1.0 GiB each. For a live dashboard: pip install bokeh"]


def test_hidden_folders_of_killed_workers_are_removed_at_the_end(
    here: Client, segmented: Calls, make_jobs: Make
) -> None:
    jobs = make_jobs("refused", "good")
    hidden = jobs[0].outputs.folder / ".s0.lodbrain"
    hidden.mkdir(parents=True)
    (hidden / "dseg.nii.gz").write_bytes(b"half")
    run_jobs(jobs, place=HERE)
    assert not hidden.exists()


def test_memory_and_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 9)
    shared = module._per_process(Settings(), 4, free=8_000, held=300)
    assert (shared.threads, shared.memory_bytes) == (2, 2_300)
    asked = module._per_process(Settings(threads=3, memory_bytes=400), 4, free=8_000, held=300)
    assert (asked.threads, asked.memory_bytes) == (3, 100)


def test_a_problem_known_before_starts_no_process(make_jobs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cluster", None)
    (job,) = make_jobs("good")
    failed = Job(job.path, job.outputs, problem=InputError("missing", job.path, "there is no such file"))
    assert [outcome.status for outcome in run_jobs([failed], place=HERE)] == ["failed"]
