"""Handover of a large array from caller to callee, so that its memory is freed after use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Handover:
    """Container from which an array is taken once.

    A caller keeps a reference to each argument that it passes. If it passes the array in a `Handover` instead, the
    memory is freed as soon as the callee drops the array.

    Parameters
    ----------
    data : (X, Y, Z) float32
        The caller must not keep another reference to it.

    Examples
    --------
    >>> handover = Handover(np.ones((2, 3, 4), np.float32))
    >>> handover.take().shape
    (2, 3, 4)
    """

    def __init__(self, data: NDArray[np.float32]) -> None:
        self._data: NDArray[np.float32] | None = data

    def take(self, *, again: bool = False) -> NDArray[np.float32]:
        """Return the array and drop the reference to it, unless it will be taken `again`.

        Raises
        ------
        ValueError
            If it has been taken before.
        """
        data = self._data
        if data is None:
            raise ValueError("data must not be taken twice")
        if not again:
            self._data = None
        return data
