"""One scan stored in other ways: the same head at another offset, gain, number format or background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scan = NDArray[Any]


def _levels(scan: Scan, count: int) -> Scan:
    low, high = float(scan.min()), float(scan.max())
    return np.rint((scan - low) / (high - low) * (count - 1))


def _z(scan: Scan, of: NDArray[np.bool_]) -> Scan:
    values = scan[of].astype(np.float64)
    return ((scan - values.mean()) / values.std()).astype(np.float32)


def _inside(scan: Scan) -> Scan:
    return np.where(scan == 0, np.float32(0), _z(scan, scan != 0))


def _background(scan: Scan, value: float) -> Scan:
    return np.where(scan == 0, np.float32(value), scan.astype(np.float32))


def _rim(scan: Scan) -> Scan:
    """Shifted, then padded with 0 as a resampling does."""
    moved, inside = np.zeros_like(scan, np.float32), (slice(rim := max(1, min(scan.shape) // 60), -rim),) * 3
    moved[inside] = scan[inside].astype(np.float32) - 1024
    return moved


def _bright(scan: Scan) -> float:
    return float(np.percentile(scan[scan != 0], 99))


#: Gain and offset: nothing else of the scan changes.
LINEAR: dict[str, Callable[[Scan], Scan]] = {
    "whole scan - 1024": lambda scan: (scan.astype(np.int32) - 1024).astype(np.int16),
    "+ 32768, unsigned": lambda scan: (scan.astype(np.int32) + 32768).astype(np.uint16),
    "+ 1e12, float64": lambda scan: scan.astype(np.float64) + 1e12,
    "times 1e-6": lambda scan: scan.astype(np.float32) * np.float32(1e-6),
    "times 1e6": lambda scan: scan.astype(np.float32) * np.float32(1e6),
    "-1 to 1": lambda scan: (scan / scan.max() * 2 - 1).astype(np.float32),
    "z-scored over all voxels": lambda scan: _z(scan, np.ones(scan.shape, bool)),
}

#: Rounded, clipped, or with another background where the scan is exactly 0.
OTHERS: dict[str, Callable[[Scan], Scan]] = {
    "int8, -128 to 127": lambda scan: (_levels(scan, 256) - 128).astype(np.int8),
    "clipped at 99.5%, - 500": lambda scan: (
        np.minimum(scan, np.percentile(scan[scan != 0], 99.5)).astype(np.float32) - 500
    ),
    "z-scored inside, background 0": _inside,
    "background -1000": lambda scan: _background(scan, -1000),
    "background -5 x bright": lambda scan: _background(scan, -5 * _bright(scan)),
    "background -0.5 x bright": lambda scan: _background(scan, -0.5 * _bright(scan)),
    "background 0.5 x bright": lambda scan: _background(scan, round(0.5 * _bright(scan))),
    "background white": lambda scan: _background(scan, scan.max()),
    "background NaN": lambda scan: _background(scan, np.nan),
    "- 1024, then padded with 0": _rim,
}

RESCALED = LINEAR | OTHERS


def mean_dice(labels: Scan, reference: Scan) -> float:
    """Mean Dice over the structures of the reference."""
    both = np.bincount(reference[labels == reference], minlength=256)
    size = np.bincount(labels.ravel(), minlength=256) + np.bincount(reference.ravel(), minlength=256)
    there = np.unique(reference[reference > 0])
    return float(np.mean(2 * both[there] / size[there]))
