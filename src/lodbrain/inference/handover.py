"""Voxels that are let go of as soon as they have been used: the largest array of a fine scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Handover:
    """An array on its way to whoever takes it.

    A function's caller holds on to what it passes. Passed in this, the array's memory is free once the taker is done.

    Parameters
    ----------
    data : (X, Y, Z) float32
        The caller must not keep it, or it gains nothing.

    Examples
    --------
    >>> handover = Handover(np.ones((2, 3, 4), np.float32))
    >>> handover.take().shape
    (2, 3, 4)
    """

    def __init__(self, data: NDArray[np.float32]) -> None:
        self._data: NDArray[np.float32] | None = data

    def take(self, *, again: bool = False) -> NDArray[np.float32]:
        """The array; only once, unless it is going to be taken `again`.

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
