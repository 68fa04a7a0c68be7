"""Reader and writer of the headers of FreeSurfer's MGH and MGZ files.

References
----------
https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader, header_dtype
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.layout import Layout, checked_shape
from lodbrain.images.nifti import scanner_header
from lodbrain.images.stream import ByteStream

_VERSION = b"\x00\x00\x00\x01"
_DATA_OFFSET = 284
_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_COLOUR = 11

#: FreeSurfer's default axes for files without orientation: left, inferior, anterior.
_DEFAULT_AXES = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)


def is_mgh(head: bytes) -> bool:
    """Return whether the first four bytes are MGH's version number."""
    return head[:4] == _VERSION


def read_layout(stream: ByteStream, head: bytes) -> Layout:
    """Return the layout from a checked header; parameters and errors as in `nifti.read_layout`."""
    path = stream.path
    block = head + stream.read(_DATA_OFFSET - len(head))
    if len(block) < _DATA_OFFSET:
        raise InputError("truncated", path, "it ends within its header", "Copy or download the file again")
    # Not `MGHHeader`, which hides that a file states no orientation.
    header = np.frombuffer(block, header_dtype, count=1)[0]
    *dims, frames = (int(size) for size in header["dims"])
    shape, frames = checked_shape(path, [*dims, frames])
    code = int(header["type"])
    if code == _COLOUR:
        raise InputError("rgb", path, "it is a colour picture (RGB)", "Give the scan itself, not a rendering of it")
    if code not in _DTYPES:
        raise InputError(
            "unknown-dtype", path, f"its header names an unknown type of voxels ({code})", "Export the scan again"
        )
    notes: list[str] = []
    affine = np.eye(4)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity in a damaged header
        if header["goodRASFlag"]:
            sides, axes = header["delta"].astype(np.float64), header["Mdc"].astype(np.float64)
            centre = header["Pxyz_c"].astype(np.float64)
        else:
            notes.append("No orientation is stated: left and right are unknown and may be swapped in the result.")
            sides, axes, centre = np.ones(3), _DEFAULT_AXES, np.zeros(3)
        affine[:3, :3] = axes.T * sides  # the file stores the direction cosines axis by axis
        affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) / 2)
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    return Layout(
        shape=shape,
        frames=frames,
        dtype=np.dtype(_DTYPES[code]),
        offset=_DATA_OFFSET,
        affine=affine,
        header=scanner_header(affine if usable else np.eye(4)),  # the caller rejects an unusable affine
        tail=True,
        notes=tuple(notes),
        head=block,
    )


def result_header(
    affine: NDArray[np.float64], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[bytes, np.dtype[Any]]:
    """Return the bytes before the first voxel of a result, and the type that its voxels are stored as.

    Voxel sides, directions and centre are float32, so the affine that is read back differs by up to 1e-4 mm or so.

    Parameters
    ----------
    shape : tuple of int
        (X, Y, Z) or (X, Y, Z, C).
    dtype : numpy dtype
        Type of the data. Stored is the first of uint8, int16, int32 and float32 that holds it.

    Raises
    ------
    ValueError
        If none of these holds it.
    """
    kind = next((kind for kind in (">u1", ">i2", ">i4", ">f4") if np.can_cast(dtype, kind)), None)
    if kind is None:
        raise ValueError(f"data must fit into uint8, int16, int32 or float32, got {dtype}")
    header: Any = MGHHeader()  # type: ignore[no-untyped-call]
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(kind))
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    header["delta"], header["goodRASFlag"] = sides, 1
    header["Mdc"] = (affine[:3, :3] / sides).T  # direction cosines of each axis in turn
    header["Pxyz_c"] = (affine @ [*(np.array(shape[:3]) / 2), 1])[:3]
    return header.binaryblock[: header_dtype.itemsize].ljust(_DATA_OFFSET, b"\0"), np.dtype(kind)


def copied_header(layout: Layout) -> bytes:
    """Return the bytes before the first voxel of a copy of a single MGH volume; tags behind the voxels are left out."""
    header = np.frombuffer(layout.head, header_dtype, count=1).copy()
    header["dims"][0, 3] = 1
    return header.tobytes() + layout.head[header_dtype.itemsize : _DATA_OFFSET]
