"""Which structures the edge of the field of view cuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lodbrain.segmentation.volumes import Volume

#: A structure counts as cut where the area on the edge is above this share of its volume to the power of 2/3. Cut
#: through the middle, a ball has 1.9; one that only touches the edge with its outermost voxels stays below.
LEAST_SHARE = 0.05


def cut_structures(
    labels: NDArray[np.uint8], volumes: Sequence[Volume], spacing_mm: NDArray[np.float64]
) -> tuple[str, ...]:
    """Names of the labels that reach the edge of the volume with more than their outermost voxels.

    Parameters
    ----------
    labels : (X, Y, Z) uint8
    volumes : sequence of Volume
        Of the same scan.
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
