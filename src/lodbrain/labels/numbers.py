"""Counting and replacement of the numbers in a label map of any integer type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Largest range of numbers for which a look-up table is used; for larger ranges numbers are sorted.
_LARGEST_TABLE = 1 << 20


def count_numbers(labels: NDArray[np.integer]) -> dict[int, int]:
    """Return the voxel count of each number that occurs, in ascending order of the numbers.

    Examples
    --------
    >>> count_numbers(np.array([-32768, 32767, 32767], np.int16))
    {-32768: 1, 32767: 2}
    """
    if not labels.size:
        return {}
    low, high = int(labels.min()), int(labels.max())
    if high - low < _LARGEST_TABLE:
        counts = np.bincount(_from(labels, low).ravel(order="K"))
        return {low + int(place): int(counts[place]) for place in np.flatnonzero(counts)}
    numbers, each = np.unique(labels, return_counts=True)
    return dict(zip(numbers.tolist(), each.tolist(), strict=True))


def replace_numbers(labels: NDArray[np.integer], new: Mapping[int, int], dtype: type[Any]) -> NDArray[Any]:
    """Return the label map with each number replaced.

    Parameters
    ----------
    labels : (X, Y, Z) int
    new : mapping of int to int
        New number of every number that occurs.

    Examples
    --------
    >>> replace_numbers(np.array([7, 1003], np.int16), {7: 1, 1003: 2}, np.uint8).tolist()
    [1, 2]
    """
    numbers = sorted(new)
    if not numbers or not labels.size:
        return labels.astype(dtype)
    low, high = numbers[0], numbers[-1]
    if high - low < _LARGEST_TABLE:
        table = np.zeros(high - low + 1, dtype)
        table[np.array(numbers) - low] = [new[number] for number in numbers]
        return np.asarray(table[_from(labels, low)])
    values = np.array([new[number] for number in numbers], dtype)
    return values[np.searchsorted(np.array(numbers), labels)]


def _from(labels: NDArray[np.integer], low: int) -> NDArray[np.integer]:
    """Return labels minus `low`, in a type that holds the difference, which may not fit into int16."""
    return labels if low == 0 else labels.astype(np.int64) - low
