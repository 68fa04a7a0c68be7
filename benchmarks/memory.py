"""Is `--memory` kept? The peak as planned and as measured, for five voxel sizes and five budgets each.

    python benchmarks/memory.py HEAD.nii.gz --work FOLDER [--sizes 2 1 0.7 0.5 0.25] [--model default]

HEAD is a T1w head of about 1 mm. It is resampled to a field of view of 175 x 225 x 175 mm around its brain, 700 x 900 x
700 voxels of 0.25 mm. Each case is a process of its own. A first run is allowed 1 MB: its refusal says what is needed,
and the budgets are multiples of that; 6% below it must be refused.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lodbrain.images import Image, read_image, read_labels, to_ras, write_nifti
from lodbrain.system.memory import parse_memory

FIELD_MM = np.array([175.0, 225.0, 175.0])
BUDGETS = (1.0, 1.2, 1.5, 2.0, 3.0)
MB = 1e6


def main() -> int:
    """Run the cases and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "lodbrain-memory"))
    parser.add_argument("--sizes", type=float, nargs="+", default=[2.0, 1.0, 0.7, 0.5, 0.25])
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    print("| voxel | shape | allowed, MB | planned, MB | measured, MB | measured / planned | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for voxel_mm in asked.sizes:
        scan = asked.work / f"head_{voxel_mm:g}mm.nii"
        if not scan.exists():
            make_head(asked.head, voxel_mm, scan)
        shape = " x ".join(str(round(mm / voxel_mm)) for mm in FIELD_MM)
        least = needed(refusal(scan, "1MB", asked.model))
        for factor in asked.budgets:
            allowed = int(factor * least)
            planned, measured, seconds = segment(scan, str(allowed), asked.model)
            worst = max(worst, abs(measured / planned - 1), measured / allowed - 1)
            print(
                f"| {voxel_mm:g} mm | {shape} | {allowed / MB:.0f} | {planned / MB:.0f} | {measured / MB:.0f} "
                f"| {measured / planned:.2f} | {seconds:.0f} |",
                flush=True,
            )
        refusal(scan, str(int(0.94 * least)), asked.model)
        print(f"| {voxel_mm:g} mm | {shape} | {0.94 * least / MB:.0f} | refused | | | |", flush=True)
    print(f"\nFarthest from the plan, or above what was allowed: {worst:.0%}")
    return 0 if worst <= 0.15 else 1


def make_head(path: Path, voxel_mm: float, target: Path) -> None:
    """Write a head at another voxel size, interpolated linearly."""
    from scipy.ndimage import affine_transform

    labels = target.with_name("brain_dseg.nii.gz")
    if not labels.exists():
        command = [sys.executable, "-m", "lodbrain", "segment", path, "-o", target.parent / "found", "-q"]
        subprocess.run([*map(str, command), "--overwrite", "--labels", "brain"], check=True)
        next((target.parent / "found").glob("*_dseg.nii.gz")).rename(labels)
    image, _ = to_ras(read_image(path))
    brain, _ = to_ras(read_labels(labels))
    spacing = image.spacing_mm
    ends = [np.flatnonzero(brain.data.any(tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    start_mm = np.mean(ends, axis=1) * spacing - FIELD_MM / 2
    shape = tuple(int(n) for n in np.rint(FIELD_MM / voxel_mm))
    out = np.lib.format.open_memmap(target.with_suffix(".npy"), "w+", np.int16, shape)
    rows = 16
    for x in range(0, shape[0], rows):
        offset = (start_mm + np.array([x * voxel_mm, 0, 0])) / spacing
        part = (min(rows, shape[0] - x), *shape[1:])
        out[x : x + rows] = affine_transform(
            image.data, voxel_mm / spacing, offset, output_shape=part, output=np.float32, order=1
        ).round()
    write_nifti(target, out, Image(out, np.diag([voxel_mm] * 3 + [1.0])))
    del out
    target.with_suffix(".npy").unlink()


def segment(scan: Path, memory: str, model: str) -> tuple[float, float, float]:
    """Planned and measured peak in bytes, and seconds, of the command line in a process of its own."""
    with tempfile.TemporaryDirectory(dir=scan.parent) as folder:
        started = time.monotonic()
        status = subprocess.run(_command(scan, folder, memory, model), check=False).returncode
        seconds = time.monotonic() - started
        if status != 0:
            raise SystemExit(f"{scan} with {memory}: exit status {status}")
        record = json.loads(next(Path(folder).glob("*_dseg.json")).read_text())
    # The peak as the process itself sees it: what wait4(2) tells counts the memory of the process that started it.
    return record["planned_peak_memory_mib"] * 2**20, record["peak_memory_mib"] * 2**20, seconds


def refusal(scan: Path, memory: str, model: str) -> str:
    """What the command line says to a budget that is too small."""
    with tempfile.TemporaryDirectory(dir=scan.parent) as folder:
        done = subprocess.run(_command(scan, folder, memory, model), capture_output=True, text=True, check=False)
        if done.returncode != 4 or list(Path(folder).iterdir()):
            raise SystemExit(f"{scan} with {memory} was not refused: {done.returncode}, {done.stderr}")
    return done.stderr


def needed(message: str) -> int:
    """Bytes that a refusal asks for."""
    found = re.search(r"--memory (\S+)", message)
    if found is None:
        raise SystemExit(f"no amount in: {message}")
    return parse_memory(found[1])


def _command(scan: Path, folder: str, memory: str, model: str) -> list[str]:
    words = ["segment", str(scan), "-o", folder, "-q", "--memory", memory, "--device", "cpu", "--model", model]
    return [sys.executable, "-m", "lodbrain", *words]


if __name__ == "__main__":
    sys.exit(main())
