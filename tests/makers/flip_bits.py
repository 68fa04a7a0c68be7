"""Single-bit faults in packed scans, one after the other: how many are refused, read right, or silently wrong.

    PYTHONPATH=tests/makers python -m flip_bits 1000000 [nibabel]

The last word asks nibabel in place of lodbrain: the baseline.
"""

from __future__ import annotations

import functools
import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from image_files import Files

SHAPE = (5, 6, 7)


def _nifti(seed: int, level: int = 9) -> bytes:
    voxels = np.random.default_rng(seed).integers(1, 2000, SHAPE).astype(np.int16)
    return gzip.compress(Files(Path()).nifti_bytes(voxels), level, mtime=0)


def _members(seed: int) -> bytes:
    plain = gzip.decompress(_nifti(seed))
    return b"".join(gzip.compress(plain[at : at + 300], mtime=0) for at in range(0, len(plain), 300))


def _mgz(seed: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        voxels = np.random.default_rng(seed).integers(1, 2000, SHAPE).astype(np.int16)
        plain = gzip.decompress(Files(Path(folder)).mgh("scan.mgz", voxels).read_bytes())
    return gzip.compress(plain, mtime=0)


#: Kinds of packed files: as usual, without compression, of many members (bgzip), MGZ.
FILES: dict[str, Callable[[int], bytes]] = {
    "nifti": _nifti,
    "stored": lambda seed: _nifti(seed, 0),
    "members": _members,
    "mgz": _mgz,
}


@functools.cache
def contents_of(kind: str, seed: int = 0) -> bytes:
    """A sound file."""
    return FILES[kind](seed)


def flip_bits(count: int, read: Callable[[Path], Any], folder: Path, seed: int = 0) -> dict[str, int]:
    """Flip `count` single bits, one at a time, in files of all kinds and voxels of all seeds.

    Parameters
    ----------
    read : callable
        From a path to (data, affine). Whatever it raises counts as refused.
    folder : Path
        For the files; best in memory.

    Returns
    -------
    dict of str to int
        Refused, right, wrong.
    """
    chance, seen = np.random.default_rng(seed), {"refused": 0, "right": 0, "wrong": 0}
    done = 0
    while done < count:
        for kind in FILES:
            sound = contents_of(kind, done)
            path = folder / ("scan.mgz" if kind == "mgz" else "scan.nii.gz")
            path.write_bytes(sound)
            data, affine = read(path)
            for bit in chance.permutation(8 * len(sound))[: min(5000, count - done)].tolist():
                faulty = bytearray(sound)
                faulty[bit // 8] ^= 1 << bit % 8
                path.write_bytes(faulty)
                done += 1
                try:
                    found, where = read(path)
                except Exception:
                    seen["refused"] += 1
                    continue
                same = np.array_equal(found, data) and np.array_equal(where, affine)
                seen["right" if same else "wrong"] += 1
        contents_of.cache_clear()
    return seen


def _lodbrain(path: Path) -> tuple[Any, Any]:
    from lodbrain.images import read_image

    image = read_image(path)
    return image.data, image.affine


def _nibabel(path: Path) -> tuple[Any, Any]:
    image: Any = nib.load(path)
    return image.get_fdata(), image.affine


if __name__ == "__main__":
    began = time.monotonic()
    who = _nibabel if sys.argv[2:] == ["nibabel"] else _lodbrain
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        print(flip_bits(int(sys.argv[1]), who, Path(name)), f"{time.monotonic() - began:.0f} s")
