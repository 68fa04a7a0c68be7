"""How many scans a minute do one process and several finish?

    python benchmarks/throughput.py SCAN --scans 4 --jobs 1 2 --rounds 2

Every round segments copies of the scan with each number of processes in turn; all cores are used each time.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Run it and print a line for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    seconds: dict[int, list[float]] = {jobs: [] for jobs in asked.jobs}
    labels = set()
    with tempfile.TemporaryDirectory() as folder:
        scans, out = Path(folder, "scans"), Path(folder, "out")
        scans.mkdir()
        ending = "".join(asked.scan.suffixes[-2:])
        for number in range(asked.scans):
            shutil.copyfile(asked.scan, scans / f"s{number}{ending}")
        for _ in range(asked.rounds):
            for jobs in asked.jobs:
                shutil.rmtree(out, ignore_errors=True)
                command = [sys.executable, "-m", "lodbrain", "segment", str(scans), "-o", str(out), "-q"]
                started = time.monotonic()
                subprocess.run([*command, "--jobs", str(jobs)], check=True)
                seconds[jobs].append(time.monotonic() - started)
                labels |= {hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*_dseg.nii.gz")}
                print(f"{jobs} process(es): {seconds[jobs][-1]:.1f} s", flush=True)
    first = statistics.median(seconds[asked.jobs[0]])
    print(f"{os.cpu_count()} cores, {asked.scans} scans of {asked.scan.name}, median of {asked.rounds}")
    for jobs, times in seconds.items():
        median = statistics.median(times)
        rate = 60 * asked.scans / median
        print(f"{jobs} process(es): {median:.1f} s, {rate:.1f} scans a minute, x{first / median:.2f}")
    print(f"{len(labels)} different label map(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
