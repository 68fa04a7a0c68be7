"""A scan in RAS order with axes at right angles, and the way back to its own grid."""

from __future__ import annotations

from dataclasses import replace

from lodbrain.images.background import blacken_background
from lodbrain.images.grid import Reorientation, to_ras
from lodbrain.images.image import Image
from lodbrain.images.shear import Straightening, is_sheared, straighten


def upright(image: Image) -> tuple[Image, Reorientation, Straightening | None, list[str]]:
    """Return an image in RAS order, resampled to right angles if it is sheared.

    Parameters
    ----------
    image : Image

    Returns
    -------
    Image
        Its voxels are a view of those given, unless it is sheared.
    Reorientation
        Way back from RAS order.
    Straightening or None
        Way back from right angles, to be undone first; None if the image is not sheared.
    list of str
        The image's notes, and a further one if its background was changed.
    """
    ras, reorientation = to_ras(image)
    notes = list(image.notes)
    if not is_sheared(ras.affine):
        return ras, reorientation, None, notes
    data, note = blacken_background(ras.data)  # before interpolation mixes background and head
    notes += [note] if note else []
    straight, shear = straighten(replace(ras, data=data))
    return straight, reorientation, shear, notes
