"""Structures cut by the edge of the field of view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lodbrain.segmentation.volumes import Volume

#: A structure counts as cut if its area on the edge exceeds this share of its volume to the power of 2/3. A ball cut
#: through the middle has 1.9; a structure that touches the edge only with its outermost voxels has less than 0.05.
LEAST_SHARE = 0.05


def cut_structures(
    labels: NDArray[np.uint8], volumes: Sequence[Volume], spacing_mm: NDArray[np.float64]
) -> tuple[str, ...]:
    """Return the names of labels that reach the edge of the field of view with more than their outermost voxels.

    Parameters
    ----------
    labels : (X, Y, Z) uint8
    volumes : sequence of Volume
        Volumes of the same scan.
    spacing_mm : (3,) float64
        Voxel sides.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((10, 10, 10), np.uint8)
    >>> labels[:, 4:8, 4:8] = 7
    >>> cut_structures(labels, [Volume(7, "rod", 160.0, 160.0)], np.ones(3))
    ('rod',)
    """
    area_mm2 = np.zeros(256)
    for axis in range(3):
        for face in (0, -1):
            plane = labels[(slice(None),) * axis + (face,)]
            counts = np.bincount(plane.ravel(), minlength=256)
            area_mm2 += counts * np.prod(np.delete(spacing_mm, axis))
    return tuple(
        row.name for row in volumes if row.index and area_mm2[row.index] > LEAST_SHARE * row.volume_mm3 ** (2 / 3) > 0
    )
