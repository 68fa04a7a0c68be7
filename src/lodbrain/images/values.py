"""Conversion of stored voxels to intensities or labels, with correction of invalid values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError

_CHUNK = 1 << 20
_SAMPLE = 1 << 20

#: Share of NaN and Inf above which a scan is rejected, unless they surround a head.
_MAX_BAD = 0.5
#: Finite voxels are taken as a head or brain if the largest connected component holds the first share of them, and the
#: second share of it has six finite neighbours: in a ball of 12 voxels' diameter this is 0.58, in scattered voxels
#: (at most half of all) 0.5^6.
_IN_ONE_PIECE, _INSIDE = 0.9, 0.5

#: Ratio of offset to range above which the offset is removed, since float32 has only 24 bits for the differences.
_MOST_OFFSET = 2.0**12

#: Range of magnitudes outside which intensities are scaled or clipped, because their squares exceed float32.
_LARGEST, _SMALLEST = 1e18, 1e-18

#: Share of foreground voxels equal to their neighbour above which an image looks like a label map.
_FLAT = 0.8


def to_intensities(
    path: Path | None,
    buffer: bytearray,
    dtype: np.dtype[Any],
    *,
    shape: tuple[int, int, int] | None = None,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> tuple[NDArray[np.float32], list[str]]:
    """Return float32 intensities, and notes on corrections.

    Parameters
    ----------
    buffer : bytearray
        Stored voxels, at its end. It is overwritten: if it has four bytes per voxel, the result uses its memory.
    shape : (3,) int, optional
        Shape of the volume, first axis fastest. Default: one row of as many voxels as the buffer can hold.
    slope, intercept : float
        Intensity = slope * stored + intercept.

    Returns
    -------
    intensities : (N,) float32
        Finite, in the order of the buffer.
    notes : list of str
        One sentence each.

    Raises
    ------
    InputError
        ``not-finite`` if more than half are NaN or Inf, and the others do not form a compact component. ``constant``
        if all are equal.
    """
    notes: list[str] = []
    n_voxels = math.prod(shape) if shape is not None else len(buffer) // dtype.itemsize
    stored = np.frombuffer(buffer, dtype, offset=len(buffer) - n_voxels * dtype.itemsize)
    lowest, highest, n_bad = _bounds(stored)
    if n_bad > _MAX_BAD * n_voxels:
        if shape is None or not _is_compact(np.isfinite(stored).reshape(shape, order="F")):
            what = f"{n_bad / n_voxels:.0%} of its voxels are NaN or Inf"
            raise InputError("not-finite", path, what, "Export the scan again")
        notes.append(f"NaN or Inf around the head, {n_bad / n_voxels:.0%} of the voxels, were taken as background.")
    elif n_bad:
        notes.append(f"NaN or Inf in {n_bad / n_voxels:.2%} of the voxels; they were set to the darkest intensity.")
    with np.errstate(over="ignore"):
        lowest, highest = sorted((np.float64(lowest) * slope + intercept, np.float64(highest) * slope + intercept))
    factor, limit = 1.0, np.inf
    magnitude = max(-lowest, highest)
    if not np.isfinite(magnitude):
        raise InputError("not-finite", path, "its intensity scaling leads beyond all numbers", "Export the scan again")
    with np.errstate(over="ignore"):
        extent = highest - lowest
    if magnitude > _MOST_OFFSET * extent > 0:
        notes.append(f"Intensities from {lowest:.10g} to {highest:.10g} were shifted to begin at 0.")
        intercept, magnitude = intercept - lowest, extent
    if magnitude > _LARGEST or 0 < magnitude < _SMALLEST:
        factor, limit = _tame(_sample(stored, slope, intercept), magnitude)
        notes.append(f"Intensities up to {magnitude:.3g} were multiplied by {factor:.3g} and clipped to +-{limit:.3g}.")
    fill = 0.0
    if n_bad:
        darkest = np.percentile(_sample(stored, slope, intercept), 0.1)  # robust against outliers
        fill = float(np.clip(darkest * factor, -limit, limit))
    plain = slope == 1 and intercept == 0 and factor == 1 and not np.isfinite(limit)
    if plain and not n_bad and dtype == np.float32 and dtype.isnative:
        intensities = np.frombuffer(buffer, np.float32)
    else:
        begin = len(buffer) - stored.nbytes
        del stored  # the buffer cannot be resized while a view exists
        intensities = _convert(buffer, dtype, begin, slope * factor, intercept * factor, limit, fill)
    low, high = float(intensities.min()), float(intensities.max())
    if low == high:
        raise InputError("constant", path, f"all of its voxels are {low:g}", "Give the scan itself")
    if low < 0:
        notes.append(f"Negative intensities (down to {low:.4g}) were kept; the darkest count as black.")
    return intensities, notes


def to_labels(
    path: Path | None, buffer: bytearray, dtype: np.dtype[Any], *, slope: float = 1.0, intercept: float = 0.0
) -> tuple[NDArray[np.integer[Any]], list[str]]:
    """Return labels in the smallest of int16, int32 and int64 that holds them, and notes.

    Raises
    ------
    InputError
        ``not-labels`` if values are not integers. ``not-finite`` if more than half are NaN or Inf.
    """
    stored = np.frombuffer(buffer, dtype)
    lowest, highest, n_bad = _bounds(stored)
    if n_bad > _MAX_BAD * stored.size:
        what = f"{n_bad / stored.size:.0%} of its voxels are NaN or Inf"
        raise InputError("not-finite", path, what, "Export it again")
    scaled = [lowest * slope + intercept, highest * slope + intercept]
    target = next((t for t in (np.int16, np.int32, np.int64) if _fits(scaled, t)), None)
    what, hint = "it holds values that are not labels", "Give a label map: whole numbers."
    if target is None:
        raise InputError("not-labels", path, what, hint)
    labels: NDArray[np.integer[Any]] = np.empty(stored.size, target)
    for start in range(0, stored.size, _CHUNK):
        part = stored[start : start + _CHUNK]
        if dtype.kind == "f" or slope != 1 or intercept != 0:
            exact = np.where(np.isfinite(part), part, 0).astype(np.float64) * slope + intercept
            part = np.rint(exact)
            if not np.allclose(exact, part, rtol=0, atol=1e-3):  # scaling in float32 has rounding errors
                raise InputError("not-labels", path, what, hint)
        labels[start : start + _CHUNK] = part
    return labels, [f"NaN or Inf in {n_bad / stored.size:.2%} of the voxels; they were set to 0."] if n_bad else []


def looks_like_labels(data: NDArray[np.float32]) -> bool:
    """Return whether the middle slices of a volume (X, Y, Z) are integers in constant regions, as in label maps."""
    middle = data.shape[2] // 2
    slab = data[:, :, max(0, middle - 8) : middle + 8]
    if not np.array_equal(slab, np.rint(slab)):
        return False
    foreground = slab[:, :-1] > slab.min()
    n_foreground = int(np.count_nonzero(foreground))
    same = int(np.count_nonzero((slab[:, :-1] == slab[:, 1:]) & foreground))
    return n_foreground > 0 and same > _FLAT * n_foreground


def _bounds(stored: NDArray[Any]) -> tuple[float, float, int]:
    """Return the lowest and highest finite value, and the number of NaN and Inf."""
    if stored.dtype.kind in "iu":
        return int(stored.min()), int(stored.max()), 0
    lowest, highest, n_bad = np.inf, -np.inf, 0
    with np.errstate(invalid="ignore"):
        for start in range(0, stored.size, _CHUNK):
            part = stored[start : start + _CHUNK]
            low, high = part.min(), part.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                part = part[np.isfinite(part)]
                n_bad += min(_CHUNK, stored.size - start) - part.size
                if not part.size:
                    continue
                low, high = part.min(), part.max()
            lowest, highest = min(lowest, float(low)), max(highest, float(high))
    return lowest, highest, n_bad


def _is_compact(finite: NDArray[np.bool_]) -> bool:
    """Return whether a mask (X, Y, Z) is one compact component, like a head or a brain, and not remains of damage."""
    from scipy import ndimage  # imported here: it takes a quarter of a second, and few scans need it

    components, count = ndimage.label(finite)
    if count == 0:
        return False
    largest = components == 1 + int(np.bincount(components.ravel())[1:].argmax())
    whole, piece = int(np.count_nonzero(finite)), int(np.count_nonzero(largest))
    inside = int(np.count_nonzero(ndimage.binary_erosion(largest)))
    return piece > _IN_ONE_PIECE * whole and inside > _INSIDE * piece


def _sample(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    """Return a sample of about a million finite intensities."""
    part = stored[:: stored.size // _SAMPLE + 1].astype(np.float64)
    sample: NDArray[np.float64] = part[np.isfinite(part)] * slope + intercept
    return sample


def _tame(sample: NDArray[np.float64], magnitude: float) -> tuple[float, float]:
    """Return the factor and limit that bring extreme intensities into the range of float32.

    A few outliers are clipped; if all intensities are extreme, their 99th percentile is scaled to 1000.
    """
    bulk = float(np.percentile(np.abs(sample), 99)) if sample.size else 0.0
    if bulk == 0:
        bulk = magnitude
    factor = 1.0 if _SMALLEST <= bulk <= _LARGEST else 1000 / bulk
    return factor, 10 * bulk * factor


def _convert(
    buffer: bytearray, dtype: np.dtype[Any], begin: int, slope: float, intercept: float, limit: float, fill: float
) -> NDArray[np.float32]:
    """Return scaled float32 of the voxels from byte `begin` on, in the buffer's own memory if it is large enough.

    Voxels are copied, scaled and written back in chunks: voxel i is written to bytes 4i to 4i+4. No unread voxel is
    overwritten, because smaller voxels are stored at the end of the buffer, and larger ones shrink to four bytes.
    """
    stored = np.frombuffer(buffer, dtype, offset=begin)
    n_voxels, in_place = stored.size, len(buffer) >= 4 * stored.size
    result = np.frombuffer(buffer, np.float32, count=n_voxels) if in_place else np.empty(n_voxels, np.float32)
    scaled = slope != 1 or intercept != 0
    for start in range(0, n_voxels, _CHUNK):
        part = stored[start : start + _CHUNK]
        if scaled or dtype.itemsize == 8:
            part = part.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                part *= slope
                part += intercept
        else:
            part = part.astype(np.float32)
        if dtype.kind == "f":
            bad = ~np.isfinite(part)
            part[bad] = fill
        if np.isfinite(limit):
            np.clip(part, -limit, limit, out=part)
        result[start : start + _CHUNK] = part
    if dtype.itemsize == 8:
        del stored, part, result
        del buffer[4 * n_voxels :]  # frees the second half of the memory
        result = np.frombuffer(buffer, np.float32)
    return result


def _fits(bounds: list[float], target: type[np.signedinteger[Any]]) -> bool:
    limits = np.iinfo(target)
    return all(limits.min - 0.5 < bound < limits.max + 0.5 for bound in bounds)
