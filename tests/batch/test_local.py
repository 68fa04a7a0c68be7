"""Real worker processes through the real command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from lodbrain.batch.cluster import remote_cluster
from lodbrain.errors import UsageError
from lodbrain.images.io import read_labels

pytestmark = pytest.mark.slow

ENDINGS = ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")


def copies(head: Path, count: int) -> Path:
    folder = head.parent / "in"
    folder.mkdir()
    for number in range(count):
        (folder / f"s{number}.nii.gz").write_bytes(head.read_bytes())
    return folder


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lodbrain", "segment", *map(str, words)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells start background jobs, such as these tests, with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_worker_loses_nothing_and_bad_scans_are_named(head_4mm: Path, tmp_path: Path) -> None:
    folder, out = copies(head_4mm, 8), tmp_path / "out"
    (folder / "bad.nii.gz").write_bytes(b"")
    process = start(folder, "-o", out, "--jobs", 2)
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]  # where; the first scan
    assert lines[0].startswith("2 processes with ")
    for _ in range(2):
        workers_of(process)[0].kill()
        lines.append(process.stdout.readline())
    rest, errors = process.communicate(timeout=600)
    assert process.returncode == 3
    assert errors == f"lodbrain: {folder}/bad.nii.gz: the file is empty. Copy or download it again\n"
    assert "8 done, 1 failed" in rest
    names = [
        f"s{number}_{ending}"
        for number in range(8)
        for ending in ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")
    ]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    told = [line.split(":")[0] for line in "".join([*lines, rest]).splitlines() if ".nii.gz: " in line]
    assert sorted(told) == [f"s{number}.nii.gz" for number in range(8)]


def test_workers_make_the_pages_and_resume_makes_only_a_lost_one(head_4mm: Path, tmp_path: Path) -> None:
    folder, out = copies(head_4mm, 2), tmp_path / "out"
    words = (folder, "-o", out, "--jobs", 2, "--report")
    process = start(*words)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"s{number}_{ending}" for number in range(2) for ending in (*ENDINGS, "report.html")
    )
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "s1_report.html").unlink()
    process = start(*words, "--resume")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and "2 skipped" in said
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert after.pop("s1_report.html") > before.pop("s1_report.html")
    assert after == before


def test_processes_and_threads_change_no_label(head_4mm: Path, tmp_path: Path) -> None:
    folder = copies(head_4mm, 2)
    for name, words in {"one": ["--threads", "1"], "two": ["--threads", "2"], "jobs": ["--jobs", "2"]}.items():
        process = start(folder, "-o", tmp_path / name, *words)
        process.communicate(timeout=600)
        assert process.returncode == 0
    first = read_labels(tmp_path / "one" / "s0_dseg.nii.gz").data
    for name in ("two", "jobs"):
        for scan in ("s0", "s1"):
            np.testing.assert_array_equal(read_labels(tmp_path / name / f"{scan}_dseg.nii.gz").data, first)


@pytest.mark.parametrize("early", [False, True], ids=["at work", "starting"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_whole_results_and_no_process(
    number: signal.Signals, status: int, early: bool, head_4mm: Path, tmp_path: Path
) -> None:
    process = start(copies(head_4mm, 40), "-o", tmp_path / "out", "--jobs", 2)
    assert process.stdout is not None
    if early:
        while not workers_of(process):
            time.sleep(0.01)
    else:
        process.stdout.readline(), process.stdout.readline()
    workers = workers_of(process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # Ctrl-C reaches all
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert len(errors.splitlines()) == 1, errors
    time.sleep(0.5)
    assert [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE] == []
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert bool(left) != early
    done = sorted({name.split("_")[0] for name in left})
    assert left == sorted(f"{name}_{ending}" for name in done for ending in ENDINGS)


def test_no_scheduler_is_wrong_usage() -> None:
    with (
        pytest.raises(UsageError, match=r"tcp://127.0.0.1:9: no Dask scheduler answers there"),
        remote_cluster("tcp://127.0.0.1:9"),
    ):
        pass
