"""Many scans of varying shape in one process: does it grow?

    PYTHONPATH=tests/makers python -m soak 1000 [default]

The last word takes the model in the package in place of a tiny one.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tiny_model
from image_files import Files

from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.settings import Settings, load_model
from lodbrain.system.memory import keep_freed_memory


def soak(count: int, folder: Path, model: str, *, every: int = 100, seed: int = 0) -> list[float]:
    """Private memory in MB after each `every` scans, of ever other shapes (24 to 48 voxels) and voxel sizes."""
    chance, files, sizes = np.random.default_rng(seed), Files(folder), []
    settings = Settings(model=model, device="cpu", threads=1, overwrite=True, memory_bytes=2 * 10**9)
    loaded = load_model(settings)
    for turn in range(1, count + 1):
        x, y, z = (int(n) for n in chance.integers(24, 49, 3))
        sides = chance.uniform(5.0, 6.0) * chance.uniform(0.95, 1.05, 3)
        scan = files.nifti("scan.nii.gz", tiny_model.head((x, y, z), turn), np.diag([*sides, 1.0]))
        segment_file(scan, folder / "out", settings, model=loaded)
        if turn % every == 0:
            gc.collect()
            memory = psutil.Process().memory_info()
            sizes.append((memory.rss - getattr(memory, "shared", 0)) / 1e6)  # without the libraries' own pages
            print(f"{turn} scans: {sizes[-1]:.1f} MB resident, {_in_use() / 1e6:.1f} MB in use", flush=True)
    return sizes


class _Mallinfo2(ctypes.Structure):
    """Of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _in_use() -> float:
    """Bytes that glibc has given out and not got back, NaN elsewhere: grows with a leak, not with holes in the heap."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return float("nan")
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return float(found.uordblks + found.hblkhd)


if __name__ == "__main__":
    keep_freed_memory()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        own = sys.argv[2:] == ["default"]
        chosen = "default" if own else str(tiny_model.save_tiny_model(Path(name) / "tiny.safetensors"))
        soak(int(sys.argv[1]), Path(name), chosen)
    print(f"{time.monotonic() - began:.0f} s")
