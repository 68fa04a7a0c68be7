"""Many tiny scans, some of them corrupt, over Dask, while workers are killed: is every good one done once?

    python benchmarks/many_scans.py --scans 1000 --corrupt 10 --kills 2 --jobs 2

The scans are the ICBM152 template (nilearn) averaged to 4 mm and cropped, each with its own scale and noise.
"""

import argparse
import collections
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil

from lodbrain.images import Image, read_image, to_ras, write_nifti

ENDINGS = ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")


def main() -> int:
    """Run it and print what came of it; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--corrupt", type=int, default=10)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="made before with the same numbers, or to be made")
    parser.add_argument("--model", default="default", help="name or file; the smaller, the more scans")
    parser.add_argument("--make", action="store_true", help="only make the scans")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        scans, out = folder / "scans", folder / "out"
        corrupt = make(scans, asked.scans, asked.corrupt)
        if asked.make:
            return 0
        return run(scans, out, corrupt, asked.scans, kills=asked.kills, jobs=asked.jobs, model=asked.model)


def make(folder: Path, count: int, corrupt: int) -> set[str]:
    """Write the scans, if they are not there; return the names of those that are cut off."""
    every = count // corrupt
    bad = {f"s{number:05}.nii" for number in range(every // 2, count, every)}
    if folder.is_dir():
        return bad
    folder.mkdir(parents=True)
    spec = find_spec("nilearn")
    assert spec is not None and spec.origin is not None
    template = Path(spec.origin).parent / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image, _ = to_ras(read_image(template))
    x, y, z = (size // 4 for size in image.shape)
    head = image.data[: 4 * x, : 4 * y, : 4 * z].reshape(x, 4, y, 4, z, 4).mean((1, 3, 5))
    full = np.argwhere(head > 0.1 * head.max())  # tiny: the air around is left out
    head = head[tuple(slice(low, high + 1) for low, high in zip(full.min(0), full.max(0), strict=True))]
    head *= 200 / head.max()
    random = np.random.default_rng(0)
    for number in range(count):
        data = (head * random.uniform(0.8, 1.2) + random.normal(0, 3, head.shape)).round().astype(np.int16)
        path = folder / f"s{number:05}.nii"
        write_nifti(path, data, Image(data, np.diag([4.0, 4.0, 4.0, 1.0])))
        if path.name in bad:
            path.write_bytes(path.read_bytes()[:-1000])
    return bad


def run(scans: Path, out: Path, bad: set[str], count: int, *, kills: int, jobs: int, model: str) -> int:
    """Segment them, killing a worker now and then, and check what is there."""
    started = time.monotonic()
    command = [sys.executable, "-m", "lodbrain", "segment", str(scans), "-o", str(out), "--jobs", str(jobs)]
    command += ["--model", model]
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    kill_at = {count * (number + 1) // (kills + 1) for number in range(kills)}
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if len(lines) in kill_at:
            children = psutil.Process(process.pid).children(recursive=True)
            victim = next(child for child in children if "spawn_main" in " ".join(child.cmdline()))
            victim.kill()
            print(f"killed worker {victim.pid} after {len(lines) - 1} scans", flush=True)
    status = process.wait()
    seconds = time.monotonic() - started
    errors.seek(0)
    named = [Path(line.removeprefix("lodbrain: ").split(": ")[0]).name for line in errors]
    told = collections.Counter(line.split(":")[0] for line in lines if line.endswith(" s") and ".nii:" in line)
    good = {path.name for path in scans.iterdir()} - bad
    expected = {f"{name.removesuffix('.nii')}_{ending}" for name in good for ending in ENDINGS}
    sidecars = [json.loads((out / f"{name.removesuffix('.nii')}_dseg.json").read_text()) for name in sorted(good)]
    checks = {
        "exit status 3": status == 3,
        "every good scan done, and told of, once": set(told) == good and set(told.values()) == {1},
        "every corrupt one named, once": sorted(named) == sorted(bad),
        "nothing missing, nothing left over": {path.name for path in out.iterdir()} == expected,
    }
    print(*lines[:1], *lines[-2:], sep="\n")
    took = [sidecar["execution"]["seconds"]["total"] for sidecar in sidecars]
    print(f"{count} scans, {len(bad)} corrupt, {kills} kills, {jobs} processes: {seconds:.0f} s")
    print(f"median {statistics.median(took):.3f} s a scan, {len(good) / seconds:.2f} scans a second overall")
    for name, held in checks.items():
        print(f"{'yes' if held else 'NO '}  {name}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
