"""Reader of the headers of FreeSurfer's MGH and MGZ files.

References
----------
https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

import numpy as np

from lodbrain.errors import InputError
from lodbrain.images.layout import Layout, checked_shape
from lodbrain.images.nifti import scanner_header
from lodbrain.images.stream import ByteStream

_VERSION = b"\x00\x00\x00\x01"
_HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("dims", ">i4", (4,)),
        ("type", ">i4"),
        ("dof", ">i4"),
        ("good_ras", ">i2"),
        ("delta", ">f4", (3,)),
        ("axes", ">f4", (3, 3)),
        ("centre", ">f4", (3,)),
    ]
)
_DATA_OFFSET = 284
_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_COLOUR = 11

#: FreeSurfer's default axes for files without orientation: left, inferior, anterior.
_DEFAULT_AXES = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)


def is_mgh(head: bytes) -> bool:
    """Return whether the first four bytes are MGH's version number."""
    return head[:4] == _VERSION


def read_layout(stream: ByteStream, head: bytes) -> Layout:
    """Return the layout from a checked header.

    Parameters
    ----------
    stream : ByteStream
        Positioned after `head`.
    head : bytes
        The first four bytes of the file.

    Raises
    ------
    InputError
        If the header is truncated, inconsistent, or does not describe a volume of real numbers.
    """
    path = stream.path
    block = head + stream.read(_DATA_OFFSET - len(head))
    if len(block) < _DATA_OFFSET:
        raise InputError("truncated", path, "it ends within its header", "Copy or download the file again.")
    header = np.frombuffer(block, _HEADER, count=1)[0]
    *dims, frames = (int(size) for size in header["dims"])
    shape, frames = checked_shape(path, [*dims, frames])
    code = int(header["type"])
    if code == _COLOUR:
        raise InputError("rgb", path, "it is a colour picture (RGB)", "Give the scan itself, not a rendering of it.")
    if code not in _DTYPES:
        raise InputError(
            "unknown-dtype", path, f"its header names an unknown type of voxels ({code})", "Export the scan again."
        )
    notes: list[str] = []
    affine = np.eye(4)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity in a damaged header
        if header["good_ras"]:
            sides, axes = header["delta"].astype(np.float64), header["axes"].astype(np.float64)
            centre = header["centre"].astype(np.float64)
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


def copied_header(layout: Layout) -> bytes:
    """Return the bytes before the first voxel of a copy of a single volume; tags behind the voxels are left out.

    Parameters
    ----------
    layout : Layout
        Of an MGH file.
    """
    header = np.frombuffer(layout.head, _HEADER, count=1).copy()
    header["dims"][0, 3] = 1
    return header.tobytes() + layout.head[_HEADER.itemsize : _DATA_OFFSET]
