"""Grid of a scan in the order of axes that nibabel calls canonical, which other programs bring scans into."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from lodbrain.images.grid import Reorientation, reoriented
from lodbrain.images.image import Image


def canonical(image: Image) -> tuple[Image, Reorientation]:
    """Return an image as `nibabel.as_closest_canonical` reorders it, and the reorientation.

    It is `lodbrain.images.grid.to_ras` but for axes at 45 degrees to the directions of space, where the two may differ.

    Returns
    -------
    image : Image
        The same if it is in this order already, with its header; else data is a view, and `header` is None.
    reorientation : Reorientation
    """
    axes: Any = io_orientation  # untyped
    ornt = np.asarray(axes(image.affine), dtype=int)  # for each axis, its new place, and -1 if it is reversed
    if (ornt == [[0, 1], [1, 1], [2, 1]]).all():
        return image, Reorientation((0, 1, 2), (False, False, False))
    x, y, z = (int(np.flatnonzero(ornt[:, 0] == place)[0]) for place in range(3))
    turn = Reorientation((x, y, z), (bool(ornt[x, 1] < 0), bool(ornt[y, 1] < 0), bool(ornt[z, 1] < 0)))
    return reoriented(image, turn), turn
