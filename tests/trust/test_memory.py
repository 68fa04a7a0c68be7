"""`--memory` is a promise: kept, planned, or refused before any network runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import zoom
from trust_cases import Bench

from lodbrain.commands import main
from lodbrain.images import Image, read_labels, write_nifti
from lodbrain.system.memory import parse_memory


def test_too_little_is_refused_before_a_voxel_is_read_or_a_network_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("nothing may start")

    monkeypatch.setattr("lodbrain.images.io.to_intensities", never)
    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.segment_image", never)
    scan = bench.nifti("scan.nii.gz")
    words = ["segment", scan, "-o", bench.out, "--model", bench.model, "--device", "cpu", "-q"]
    assert main([*map(str, words), "--memory", "20MB"]) == 4
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"lodbrain: .*scan\.nii\.gz: it needs at least (\S+) of memory, 20MB are allowed or free\. "
        r"Give --memory \1 or more, on a machine that has it\n",
        said,
    )
    assert not any(bench.out.iterdir())


@pytest.mark.slow  # half a minute a run: the default model on a head of 2 mm
def test_budget_is_kept_and_the_plan_is_met(
    template_4mm: tuple[NDArray[np.float32], NDArray[np.float64]], tmp_path: Path
) -> None:
    data, affine = template_4mm
    fine = zoom(data, 2, order=1, grid_mode=True, mode="grid-constant")
    write_nifti(tmp_path / "head.nii.gz", fine, Image(fine, affine @ np.diag([0.5, 0.5, 0.5, 1])))
    run = _runner(tmp_path)
    status, said = run("20MB")
    assert status == 4
    needed = parse_memory(re.findall(r"--memory (\S+)", said)[0])
    assert 300e6 < needed < 1.5e9
    assert run(str(int(0.94 * needed)))[0] == 4
    found = []
    for allowed in (needed, 2 * needed):
        assert run(str(allowed)) == (0, "")
        record = json.loads((tmp_path / "out" / "head_dseg.json").read_text())
        peak = record["peak_memory_mib"] * 2**20  # as the process itself sees it: rusage counts the parent's, too
        assert peak <= 1.02 * allowed
        # With bfloat16 in hardware 0.83 to 0.93 of the plan were taken, in float32 it is met within 15%.
        planned = record["planned_peak_memory_mib"] * 2**20
        assert 0.78 * planned <= peak <= 1.15 * planned
        found.append(read_labels(tmp_path / "out" / "head_dseg.nii.gz").data)
    assert (found[0] != found[1]).mean() <= 1e-5


def _runner(folder: Path) -> Callable[[str], tuple[int, str]]:
    """The real command line in a process of its own: exit status and stderr."""

    def run(memory: str) -> tuple[int, str]:
        words = ["segment", str(folder / "head.nii.gz"), "-o", str(folder / "out"), "--memory", memory]
        command = [sys.executable, "-m", "lodbrain", *words, "--device", "cpu", "--overwrite", "-q"]
        child = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        return child.returncode, child.stderr

    return run
