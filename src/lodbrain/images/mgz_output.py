"""Results as FreeSurfer's MGZ files."""

from __future__ import annotations

import gzip
import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from numpy.typing import NDArray

from lodbrain.images.image import Image
from lodbrain.system.atomic import atomic

#: zlib levels of label maps and of posteriors, see `lodbrain.images.io`.
_LEVEL_LABELS, _LEVEL_FLOATS = 4, 1

_SLAB = 16

_DATA_OFFSET = 284


def write_mgz(path: str | os.PathLike[str], data: NDArray[Any], like: Image) -> None:
    """Write a result on the grid of an image, atomically.

    The same input gives the same bytes. MGH keeps voxel sides, directions and centre as float32, so the affine that is
    read back differs by up to 1e-4 mm or so.

    Parameters
    ----------
    path : str or PathLike
        ``.mgz``.
    data : (X, Y, Z) or (X, Y, Z, C)
        On `like`'s grid. Stored as uint8, int16, int32 or float32, the first that holds its dtype.
    like : Image
        Whose grid is used.

    Raises
    ------
    ValueError
        `data` is not on `like`'s grid, is of another dtype, or the name ends otherwise.
    OutputError
        The file cannot be written.
    """
    target = Path(path)
    if not target.name.endswith(".mgz"):
        raise ValueError(f"path must end in .mgz, got {target.name!r}")
    if data.ndim not in (3, 4) or data.shape[:3] != like.shape:
        raise ValueError(f"data must be on the grid {like.shape}, got {data.shape}")
    stored = next((kind for kind in ("u1", "i2", "i4", "f4") if np.can_cast(data.dtype, kind)), None)
    if stored is None:
        raise ValueError(f"data must fit into uint8, int16, int32 or float32, got {data.dtype}")
    head = io.BytesIO()
    header: Any = MGHHeader()  # type: ignore[no-untyped-call]
    header.set_data_shape(data.shape)
    header.set_data_dtype(np.dtype(stored).newbyteorder(">"))
    sides = np.linalg.norm(like.affine[:3, :3], axis=0)
    header["delta"], header["goodRASFlag"] = sides, 1
    header["Mdc"] = (like.affine[:3, :3] / sides).T  # direction cosines of each axis in turn
    header["Pxyz_c"] = (like.affine @ [*(np.array(like.shape) / 2), 1])[:3]
    header.writehdr_to(head)
    with atomic(target) as temporary, ExitStack() as stack:
        plain = stack.enter_context(temporary.open("wb"))
        level = _LEVEL_FLOATS if stored == "f4" else _LEVEL_LABELS
        # Without name and time in its header the stream depends on the content alone.
        file = stack.enter_context(gzip.GzipFile("", "wb", level, plain, mtime=0))
        file.write(head.getvalue().ljust(_DATA_OFFSET, b"\0"))
        for volume in [data] if data.ndim == 3 else np.moveaxis(data, 3, 0):
            for z in range(0, like.shape[2], _SLAB):
                slab = volume[:, :, z : z + _SLAB]
                file.write(slab.astype(np.dtype(stored).newbyteorder(">"), order="K").tobytes("F"))
