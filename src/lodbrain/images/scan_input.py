"""Scans as Python programs hold them: paths, images of nibabel and arrays."""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import read_array, read_image


def as_image(
    scan: Any,
    affine: ArrayLike | None,
    spacing_mm: ArrayLike | None,
    *,
    frame: int | None = None,
    allow_odd_voxels: bool = False,
) -> Image:
    """Return a file, nibabel image or array as a checked image; parameters and errors as in `lodbrain.segment`."""
    given = {"affine": affine, "spacing_mm": spacing_mm}
    if scan is None or isinstance(scan, (bytes, dict, set)):
        raise ValueError(f"scan must be a path, an image of nibabel or an array, got {scan!r}")
    if isinstance(scan, (str, PathLike)) or is_nibabel(scan):
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} must not be given for a file or an image, which has its own")
        if isinstance(scan, (str, PathLike)):
            return read_image(scan, frame=frame, allow_odd_voxels=allow_odd_voxels)
        return read_nibabel(scan, frame=frame, allow_odd_voxels=allow_odd_voxels)
    if affine is not None and spacing_mm is not None:
        raise ValueError("affine and spacing_mm exclude each other: the affine says how large voxels are")
    if affine is None and spacing_mm is None:
        raise ValueError(
            "affine must be given with an array: it says which side is left and how large voxels are "
            "(or else spacing_mm, for an array in RAS order)"
        )
    if spacing_mm is not None:
        sides = np.asarray(spacing_mm, dtype=np.float64)
        if sides.shape != (3,) or not (sides > 0).all():
            raise ValueError(f"spacing_mm must be three lengths above 0, got {spacing_mm!r}")
        affine = np.diag([*sides, 1.0])
    return read_array(np.asarray(scan), np.asarray(affine), allow_odd_voxels=allow_odd_voxels)


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
        raise InputError("bad-affine", None, "the image has no affine", "Give one: it says which side is left")
    data = np.asanyarray(scan.dataobj)
    if data.ndim == 4:
        frames = data.shape[3]
        if frame is None and frames > 1:
            hint = f"Choose one with frame, from 0 to {frames - 1}"
            raise InputError("4d", None, f"the image holds {frames} volumes", hint)
        if frame is not None and not 0 <= frame < frames:
            raise InputError("no-such-frame", None, f"it has no frame {frame}", f"Its frames are 0 to {frames - 1}")
        data = data[..., frame or 0]
    return read_array(data, np.asarray(scan.affine, dtype=np.float64), allow_odd_voxels=allow_odd_voxels)


def to_nibabel(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """Return an array as a `nibabel.Nifti1Image` in mm."""
    import nibabel

    image: Any = nibabel.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    return image
