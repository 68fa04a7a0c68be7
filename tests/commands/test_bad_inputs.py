"""Bad files through the real command: one line that names the file, the right exit status, nothing written."""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lodbrain.commands import main

RNG = np.random.default_rng(0)
NOISE = RNG.normal(100, 20, (24, 24, 24)).astype(np.float32)


def _save(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.diag([8.0, 8, 8, 1])), path)


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    _save(path, NOISE)
    path.write_bytes(change(path.read_bytes()))


def _flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def _half_nan() -> np.ndarray:
    data = NOISE.copy()
    data[:14] = np.nan
    return data


def _rgb() -> np.ndarray:
    return np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "truncated": (lambda path: _bytes(path, lambda data: data[: len(data) // 2]), "truncated"),
    "bit-flip": (lambda path: _bytes(path, _flip), "damaged"),
    "4d": (lambda path: _save(path, np.stack([NOISE, NOISE], -1)), "--frame"),
    "rgb": (lambda path: _save(path, _rgb()), "RGB"),
    "nan": (lambda path: _save(path, _half_nan()), "NaN"),
    "constant": (lambda path: _save(path, np.full((24, 24, 24), 7.0, np.float32)), "constant"),
    "html": (lambda path: path.write_bytes(b"<!DOCTYPE html><html>not found</html>"), "web page"),
    "no-brain": (lambda path: _save(path, NOISE), "brain"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_file_is_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, word = CASES[case]
    scan, out = tmp_path / f"{case}.nii.gz", tmp_path / "out"
    make(scan)
    assert main(["segment", str(scan), "-o", str(out), "-q"]) == 4
    text = capsys.readouterr()
    assert text.err.count("\n") == 1
    assert text.err.startswith("lodbrain: ")
    assert scan.name in text.err
    assert word.lower() in text.err.lower()
    assert "Traceback" not in text.err
    assert list(out.glob("**/*")) == []


def test_a_bad_file_among_good_ones_is_exit_3_and_the_good_one_is_whole(tmp_path: Path, head_4mm: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(gzip.compress(b"\0" * 400)[:-4])
    command = [sys.executable, "-m", "lodbrain", "segment", str(bad), str(head_4mm), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if "bad.nii.gz" in line and line.startswith("lodbrain: ")] != []
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"head_{end}" for end in ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")]
