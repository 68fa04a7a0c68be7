"""Conversion from and to nibabel images."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import read_array


def is_nibabel(scan: object) -> bool:
    """Return whether an object is an image of nibabel, without importing nibabel."""
    nibabel = sys.modules.get("nibabel")
    return nibabel is not None and isinstance(scan, nibabel.spatialimages.SpatialImage)


def read_nibabel(scan: Any, *, frame: int | None = None, allow_odd_voxels: bool = False) -> Image:
    """Return a scan from a nibabel image, with the checks of `read_array`.

    The voxels are used as loaded by nibabel; the file's checksum is not verified.

    Parameters
    ----------
    scan : nibabel.spatialimages.SpatialImage
        (X, Y, Z), or (X, Y, Z, N).
    frame : int, optional
        Volume of a 4D image, from 0.
    allow_odd_voxels : bool
        Whether to accept voxel sides outside 0.1 to 10 mm.

    Raises
    ------
    InputError
        If the image is not a scan, or does not have this frame.
    """
    if scan.affine is None:
        raise InputError("bad-affine", None, "the image has no affine", "Give one: it says which side is left.")
    data = np.asanyarray(scan.dataobj)
    if data.ndim == 4:
        frames = data.shape[3]
        if frame is None and frames > 1:
            hint = f"Choose one with frame, from 0 to {frames - 1}."
            raise InputError("4d", None, f"the image holds {frames} volumes", hint)
        if frame is not None and not 0 <= frame < frames:
            raise InputError("no-such-frame", None, f"it has no frame {frame}", f"Its frames are 0 to {frames - 1}.")
        data = data[..., frame or 0]
    return read_array(data, np.asarray(scan.affine, dtype=np.float64), allow_odd_voxels=allow_odd_voxels)


def to_nibabel(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """Return an array as a `nibabel.Nifti1Image` in mm."""
    import nibabel

    image: Any = nibabel.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    return image
