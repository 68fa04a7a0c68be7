"""Label map of a head made of ellipsoid shells."""

from __future__ import annotations

import numpy as np

#: Inside of each radius: label on the left, on the right.
SHELLS = ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.3, 10, 49), (0.2, 4, 43))
SHAPE = (36, 40, 32)


def raw_labels() -> np.ndarray:
    """(36, 40, 32) int16 in RAS order: skin, CSF, cortex, white matter, thalamus, ventricles, and a brainstem below."""
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    raw = np.zeros(SHAPE, np.int16)
    for limit, left, right in SHELLS:
        raw[radius < limit] = np.where(x < 0, left, right)[radius < limit]
    raw[(np.hypot(x, y + 0.2) < 0.15) & (z < -0.3) & (radius < 0.74)] = 16
    return raw
