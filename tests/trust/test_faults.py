"""Faults of the system: full and read-only disks, signals, races, no memory, a file that changes meanwhile."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import rounds
import torch
from trust_cases import Bench

from lodbrain.commands import main
from lodbrain.errors import OutputError
from lodbrain.images import read_labels
from lodbrain.inference import ladder
from lodbrain.models import zoo
from lodbrain.segmentation import file_segmentation as segment
from lodbrain.system.atomic import atomic

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def _segment(bench: Bench, *words: object) -> int:
    given = ["segment", *words, "-o", bench.out, "--model", bench.model, "--device", "cpu", "--threads", "1", "-q"]
    return main([str(word) for word in given])


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lodbrain: ") and err.count("\n") == 1, err
    assert "internal error" not in err
    return err


def _notes(bench: Bench) -> list[str]:
    notes: list[str] = json.loads((bench.out / "scan_dseg.json").read_text())["notes"]
    return notes


@pytest.mark.parametrize("place", ["file", "below a file", "where not even root can make a folder"])
def test_output_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    place: str, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if place.startswith("where") and not Path("/proc/self").exists():
        pytest.skip("no /proc")
    file = bench.raw("file", b"mine")
    bench.out = {"file": file, "below a file": file / "out"}.get(place, Path("/proc/lodbrain"))
    monkeypatch.setattr(zoo, "load", lambda name: pytest.fail("the model was loaded"))
    assert _segment(bench, bench.nifti()) == 6
    said = _one_line(capsys)
    assert str(bench.out) in said
    assert file.read_bytes() == b"mine"


@contextmanager
def _disk(folder: Path, size: str) -> Iterator[Path]:
    """A small disk in memory, mounted."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_read_only_disk_is_refused_before_any_work(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "load", lambda name: pytest.fail("the model was loaded"))
    with _disk(tmp_path / "disk", "1m") as bench.out:
        subprocess.run(["mount", "-o", "remount,ro", str(bench.out)], check=True)
        assert _segment(bench, bench.nifti()) == 6
        assert "Read-only file system" in _one_line(capsys)


def _earlier(bench: Bench) -> tuple[Path, dict[str, bytes]]:
    """A scan with complete results of other settings."""
    scan = bench.nifti("scan.nii.gz")
    assert _segment(bench, scan, "--labels", "brain") == 0
    return scan, {path.name: path.read_bytes() for path in bench.out.iterdir()}


@pytest.mark.parametrize("left_kib", [0, 4, 8, 16])
def test_disk_that_fills_up_leaves_nothing_new(
    left_kib: int, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _disk(tmp_path / "disk", "256k") as disk:
        bench.out = disk / "out"
        scan, before = _earlier(bench)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(max(0, free - 1024 * left_kib)))
        assert _segment(bench, scan, "--overwrite") == 6
        assert "No space left" in (said := _one_line(capsys)) or "the disk is full" in said
        assert {path.name: path.read_bytes() for path in bench.out.iterdir()} == before


@POSIX
@pytest.mark.parametrize("largest", [0, 400, 2000])
def test_file_that_grows_beyond_the_limit_leaves_nothing_new(
    largest: int, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, before = _earlier(bench)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, usual[1]))
    try:
        status = _segment(bench, scan, "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert status == 6
    _one_line(capsys)
    assert {path.name: path.read_bytes() for path in bench.out.iterdir()} == before


def test_disk_that_is_full_ends_the_command_before_the_next_scan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[Path] = []

    def full(path: Path, *args: Any, **options: Any) -> None:
        tried.append(path)
        with atomic(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment, "write_image", full)
    assert _segment(bench, bench.nifti("a.nii"), bench.nifti("b.nii")) == 6
    assert "the disk is full. Free some space" in _one_line(capsys)
    assert len(tried) == 1
    assert list(bench.out.iterdir()) == []


@POSIX
def test_killed_segment_leaves_nothing_half_and_resume_finishes(tmp_path: Path, tiny_model_file: Path) -> None:
    seen = rounds.segment_rounds(tmp_path, tiny_model_file, signal.SIGKILL, 4)
    assert seen["rounds"] == 4 and seen["killed"] > 0


@POSIX
def test_terminated_segment_leaves_nothing_half_and_resume_finishes(tmp_path: Path, tiny_model_file: Path) -> None:
    seen = rounds.segment_rounds(tmp_path, tiny_model_file, signal.SIGTERM, 4)
    assert seen["rounds"] == 4 and seen["killed"] > 0


@POSIX
def test_bids_killed_at_random_leaves_whole_files_and_resumes_to_the_same(
    tmp_path: Path, tiny_model_file: Path
) -> None:
    seen = rounds.bids_rounds(tmp_path, tiny_model_file, 4)
    assert seen["rounds"] == 4 and seen["killed"] > 0


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_twenty_more_kills_break_nothing(number: signal.Signals, tmp_path: Path, tiny_model_file: Path) -> None:
    seen = rounds.segment_rounds(tmp_path, tiny_model_file, number, 20, seed=1)
    assert seen["killed"] >= 10


@POSIX
@pytest.mark.slow
def test_killed_training_ends_in_the_model_of_an_unbroken_one(tmp_path: Path) -> None:
    assert rounds.train_rounds(tmp_path, signal.SIGKILL, 4)["killed"] > 0


@POSIX
def test_two_processes_on_one_output_never_mix(tmp_path: Path, tiny_model_file: Path) -> None:
    assert rounds.races(tmp_path, tiny_model_file, 5)["rounds"] == 5


@POSIX
def test_the_second_of_two_processes_is_told_that_the_first_is_at_work(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = bench.nifti("scan.nii.gz")
    words = ["segment", scan, "-o", bench.out, "--model", bench.model, "--device", "cpu", "-q"]

    def slow() -> None:
        inner = segment.segment_image

        def waiting(*args: Any, **options: Any) -> Any:
            time.sleep(30)
            return inner(*args, **options)

        segment.segment_image = waiting

    first = processes.start(words, tmp_path / "log", slow)
    try:
        deadline = time.monotonic() + 60
        while not (bench.out / ".scan.lodbrain" / "lock").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # between making the lock and taking it
        assert _segment(bench, scan) == 4
        assert "another process is writing this output. Wait for it to end" in _one_line(capsys)
    finally:
        os.kill(first, signal.SIGTERM)
        assert processes.wait(first) == 143
    assert list(bench.out.iterdir()) == []


def test_gpu_out_of_memory_ends_on_the_processor_with_the_same_labels(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = bench.nifti("scan.nii.gz")
    assert _segment(bench, scan) == 0
    expected = read_labels(bench.out / "scan_dseg.nii.gz").data
    tried: list[tuple[str, int | None]] = []
    real = ladder.run_ladder

    def too_small(given: Any, *, options: Any, **more: Any) -> Any:
        tried.append((options.device, options.tile_voxels))
        if options.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(given, options=options, **more)

    monkeypatch.setattr(ladder, "run_ladder", too_small)
    monkeypatch.setattr("lodbrain.segmentation.settings.choose_device", lambda name: "cuda")
    assert _segment(bench, scan, "--overwrite", "--memory", "4GB") == 0
    assert [device for device, _ in tried] == ["cuda", "cuda", "cuda", "cpu"]
    assert any("The memory of cuda was not enough: it was run on the processor." in note for note in _notes(bench))
    np.testing.assert_array_equal(read_labels(bench.out / "scan_dseg.nii.gz").data, expected)


def test_scan_beyond_the_memory_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = ladder.run_ladder

    def too_small(given: Any, **more: Any) -> Any:
        if given.volume.shape[0] == 20:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return real(given, **more)

    monkeypatch.setattr(ladder, "run_ladder", too_small)
    large = bench.nifti("large.nii", np.ascontiguousarray(bench.voxels()[:20]))
    assert _segment(bench, large, bench.nifti("scan.nii")) == 3
    assert "large.nii: there is not enough memory for it. Set a smaller --memory" in _one_line(capsys)
    assert len(list(bench.out.iterdir())) == 4


def test_input_changed_during_the_run_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, real = bench.nifti("scan.nii.gz"), segment.segment_image

    def changing(*args: Any, **options: Any) -> Any:
        scan.write_bytes(bench.packed() + b"more")
        return real(*args, **options)

    monkeypatch.setattr(segment, "segment_image", changing)
    assert _segment(bench, scan) == 0
    assert _notes(bench)[-1] == "The file changed while it was being segmented."


def test_clock_locale_and_umask_change_no_byte(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = bench.nifti("scan.nii.gz")

    def files(*words: str) -> dict[str, bytes]:
        assert _segment(bench, scan, *words) == 0
        return {path.name: path.read_bytes() for path in bench.out.iterdir() if path.suffix != ".json"}

    usual = files()
    for name, value in (("LC_ALL", "tr_TR.UTF-8"), ("LANG", "tr_TR.UTF-8"), ("TZ", "Pacific/Apia")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(time, "time", lambda: -1.0)
    before = os.umask(0o077)
    try:
        assert files("--overwrite") == usual
    finally:
        os.umask(before)
    if sys.platform != "win32":  # the umask is obeyed
        assert {path.stat().st_mode & 0o777 for path in bench.out.iterdir()} == {0o600}


def test_output_error_in_the_hidden_folder_names_the_output(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from lodbrain.segmentation.outputs import Outputs

    outputs = Outputs(bench.folder, "scan")
    with pytest.raises(OutputError, match=r"scan_dseg\.nii\.gz: the disk is full"), outputs.claimed() as work:
        raise OutputError("disk-full", work / "dseg.nii.gz", "the disk is full")
