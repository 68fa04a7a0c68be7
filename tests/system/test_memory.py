import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lodbrain.system import memory
from lodbrain.system.memory import (
    MEBIBYTE,
    free_bytes,
    parse_memory,
    peak_mib,
    sparing,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4GB", 4 * 10**9),
        ("800MB", 8 * 10**8),
        ("2GiB", 2 * 1024**3),
        (" 1.5 gib ", 3 * 2**29),
        ("512m", 512 * 10**6),
        ("2048KiB", 2**21),
        ("1T", 10**12),
        ("5000000", 5_000_000),
        ("5000000B", 5_000_000),
    ],
)
def test_amounts_with_units_are_read(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "4 gigs", "-4GB", "0GB", "1e9", "4IB", "4,5GB", "0.1B"])
def test_what_is_no_amount_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="memory must be an amount like 4GB") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["8", "8B", "64KB", "1.5", "4000"])
def test_an_amount_below_a_mebibyte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory must be at least 1 MiB") as caught:
        parse_memory(text)
    assert (f"for gigabytes write {text}GB" in str(caught.value)) == text.replace(".", "").isdigit()


def free(monkeypatch: pytest.MonkeyPatch, available: int, groups: list[int]) -> int:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": available}))
    monkeypatch.setattr(memory, "_cgroup_free", lambda: groups)
    return free_bytes()


def test_free_memory_leaves_a_tenth_and_at_least_512_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free(monkeypatch, 100 * 10**9, []) == 90 * 10**9
    assert free(monkeypatch, 2048 * MEBIBYTE, []) == 1536 * MEBIBYTE
    assert free(monkeypatch, 10 * MEBIBYTE, []) == 256 * MEBIBYTE


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free(monkeypatch, 100 * 10**9, [40 * 10**9, 20 * 10**9]) == 18 * 10**9


def test_limits_of_own_and_outer_groups_are_read(tmp_path: Path) -> None:
    inner = tmp_path / "cgroup" / "job" / "step"
    inner.mkdir(parents=True)
    for folder, limit, used, file in ((inner, "max", 5, 0), (inner.parent, "1000", 300, 100)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 200\ninactive_file {file}\n")
    own = tmp_path / "own"
    own.write_text("0::/job/step\n")
    assert memory._cgroup_free(tmp_path / "cgroup", own) == [800]
    assert memory._cgroup_free(tmp_path / "cgroup", tmp_path / "no such file") == []


def test_peak_is_in_mib() -> None:
    before = peak_mib()
    block = bytearray(64 * MEBIBYTE)
    block[::4096] = b"x" * len(block[::4096])
    assert 10 < before <= peak_mib() < 100_000


def test_sparing_does_nothing_where_freed_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_KEEPING", [])
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    with sparing():
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_sparing_returns_large_blocks_at_once_and_holes_are_given_back() -> None:
    code = """
import numpy as np
from lodbrain.system.memory import give_back, keep_freed_memory, resident_bytes, sparing
def freed():
    blocks = [np.ones(40_000_000, np.uint8) for _ in range(4)]
    held, last = resident_bytes(), np.ones(1000)
    del blocks
    return held - resident_bytes(), last
keep_freed_memory()
kept, last = freed()
assert kept < 20e6, kept
before = resident_bytes()
give_back()
assert before - resident_bytes() > 140e6
with sparing():
    returned, last = freed()
assert returned > 100e6, returned  # one block may fit a hole
assert freed()[0] < 20e6
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_memory_that_a_thread_has_freed_is_used_again_by_others() -> None:
    code = """
import threading
import numpy as np
from lodbrain.system.memory import keep_freed_memory, resident_bytes
def fill():
    for _ in range(4):
        np.ones(40_000_000, np.uint8)
keep_freed_memory()
fill()
before = resident_bytes()
for _ in range(3):
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
assert resident_bytes() - before < 20e6, resident_bytes() - before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can measure a peak anew")
def test_each_peak_is_measured_from_its_own_start() -> None:
    # In a process of its own: a test before this one may have told the allocator to keep what is freed.
    code = """
from lodbrain.system.memory import MEBIBYTE, peak_mib, restart_peak
block = b"x" * (200 * MEBIBYTE)
del block
high = peak_mib()
restart_peak()
base = peak_mib()
assert base < high - 150, (base, high)
block = b"x" * (100 * MEBIBYTE)
assert 95 < peak_mib() - base < 110, (base, peak_mib())
"""
    subprocess.run([sys.executable, "-c", code], check=True)
