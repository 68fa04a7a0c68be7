"""Segmenting in forked processes after the parent has done so."""

import os
import subprocess
import sys

import pytest

BALL = """
import multiprocessing, sys
import numpy as np
import lodbrain
from lodbrain.errors import UsageError

x, y, z = np.mgrid[-20:20, -20:20, -20:20] * 4.0
ball = 100.0 * (x**2 + y**2 + z**2 < 60**2)

def count(threads):
    try:
        result = lodbrain.segment(ball, spacing_mm=(4, 4, 4), labels="brain", threads=threads)
        return int(np.count_nonzero(result.labels))
    except UsageError as error:
        return str(error)

if __name__ == "__main__":
    first = count(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(first, *pool.map(count, [None, 1]), sep=",")
        print(*pool.map(count, [2]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_workers_segment_after_their_parent_has() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", BALL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    counts, refused = done.stdout.splitlines()
    first, *others = map(int, counts.split(","))
    assert first > 0 and others == [first, first]
    assert "can use one thread only, got threads=2" in refused and "'spawn'" in refused
