"""Reader and writer of NIfTI-1 and NIfTI-2 headers; all relevant fields are checked before voxels are read.

References
----------
NIfTI-1 and NIfTI-2: https://nifti.nimh.nih.gov (nifti1.h, nifti2.h), methods 1 to 3 of "3D image (volume) orientation".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.layout import Layout, checked_shape
from lodbrain.images.nifti_grid import affine_mm, read_grid
from lodbrain.images.stream import ByteStream

_DTYPES = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
    1024: np.int64,
    1280: np.uint64,
}
_COMPLEX, _COLOUR = (32, 1792, 2048), (128, 2304)

#: Largest extensions: they hold text such as DICOM fields, some MB at most.
_MAX_EXTENSIONS = 1 << 26

#: Fields of a header that say where the voxels lie, besides `dim` and `pixdim`.
_GRID_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)

_AGAIN = "Export the scan again"
_SIZES: dict[int, Any] = {348: Nifti1Header, 540: Nifti2Header}


def is_nifti(head: bytes) -> bool:
    """Return whether the first four bytes are the header size of NIfTI (or Analyze) in either byte order."""
    return any(int.from_bytes(head[:4], order) in _SIZES for order in ("little", "big"))


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
        If the header is truncated, inconsistent, or does not describe volumes of real numbers.
    """
    path = stream.path
    big = int.from_bytes(head, "little") not in _SIZES
    size = int.from_bytes(head, "big" if big else "little")
    block = head + stream.read(size - 4)
    if len(block) < size:
        raise InputError("truncated", path, "it ends within its header", "Copy or download the file again")
    pair = _check_magic(path, block, size)
    header: Any = _SIZES[size](block, endianness=">" if big else "<", check=False)
    notes = ["The file is big-endian; the values were converted."] if big else []
    header = header.as_byteswapped("<")

    n_dims = int(header["dim"][0])
    if not 1 <= n_dims <= 7:
        raise InputError("bad-header", path, f"its header claims {n_dims} dimensions", _AGAIN)
    shape, frames = checked_shape(path, [int(size) for size in header["dim"][1 : n_dims + 1]])
    if n_dims == 4 and frames == 1:
        notes.append("The file is 4D with one frame; it is read as 3D.")
    dtype = _dtype(path, header).newbyteorder(">" if big else "<")
    offset, offset_notes = _offset(stream, header, size, pair=pair, big=big)
    slope, intercept, scaling_notes = _scaling(header)
    affine, grid, grid_notes = read_grid(path, header, shape)
    return Layout(
        shape=shape,
        frames=frames,
        dtype=dtype,
        offset=offset,
        affine=affine_mm(affine, grid),
        header=grid,
        slope=slope,
        intercept=intercept,
        pair=pair,
        notes=(*notes, *offset_notes, *scaling_notes, *grid_notes),
        head=block,
    )


def result_header(
    grid: Nifti1Header | None,
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    description: str,
) -> bytes:
    """Return the bytes before the first voxel of a result.

    Only the grid is copied, because descriptions and names in a scan's header may identify the participant.

    Parameters
    ----------
    grid : Nifti1Header or None
        Grid as read. If None, qform and sform are both set from `affine`, with code 1 (scanner), in mm.
    affine : (4, 4) float64
        Voxel to millimetres; used if `grid` is None.
    shape : tuple of int
        (X, Y, Z) or (X, Y, Z, C).
    dtype : numpy dtype
        Type of the voxels.
    description : str
        Free text, truncated to 79 bytes.
    """
    template: Any = scanner_header(affine) if grid is None else grid
    new = template.copy()
    new.set_data_dtype(dtype)
    pixdim = np.array(new["pixdim"])
    new.set_data_shape(shape)
    pixdim[4:] = 1
    new["pixdim"] = pixdim
    new["descrip"] = description.encode()[:79].decode(errors="ignore").encode()
    new["scl_slope"], new["scl_inter"] = 1, 0
    new["magic"] = new.single_magic
    new["vox_offset"] = len(new.binaryblock) + 4
    return bytes(new.binaryblock) + b"\0\0\0\0"


def copied_header(layout: Layout) -> bytes:
    """Return the bytes before the first voxel of a little-endian copy of a 3D volume with all fields of its header.

    Extensions are left out. The grid is that of results, which differs from the file's if it was corrected on reading.
    """
    big = int.from_bytes(layout.head[:4], "little") not in _SIZES
    kind = _SIZES[len(layout.head)]
    new: Any = kind(layout.head, endianness=">" if big else "<", check=False).as_byteswapped("<")
    for field in _GRID_FIELDS:
        new[field] = layout.header[field]
    new["pixdim"][:4] = layout.header["pixdim"][:4]
    new["dim"] = [3, *layout.shape, 1, 1, 1, 1]
    new["magic"] = new.single_magic
    new["vox_offset"] = len(new.binaryblock) + 4
    return bytes(new.binaryblock) + b"\0\0\0\0"


@np.errstate(over="ignore", invalid="ignore")  # `check_affine` rejects such values
def scanner_header(affine: NDArray[np.float64]) -> Nifti1Header:
    """Return a header with qform and sform from an affine in mm, both with code 1 (scanner)."""
    header = _SIZES[348](endianness="<")
    header.set_data_shape((1, 1, 1))
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units(xyz="mm")
    return header  # type: ignore[no-any-return]


def _check_magic(path: Path, block: bytes, size: int) -> bool:
    """Return True for a pair of files, False for a single file."""
    magic = block[344:348] if size == 348 else block[4:12]
    single, pair = (b"n+1\0", b"ni1\0") if size == 348 else (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
    if magic not in (single, pair):
        if size == 348 and magic == b"\0\0\0\0":
            what, hint = "it is an Analyze 7.5 image: left and right are unknown", "Convert the scan from DICOM."
        else:
            what, hint = f"it is not NIfTI: its magic is {magic!r}", "Copy or download the file again."
        raise InputError("wrong-format", path, what, hint)
    return magic == pair


def _dtype(path: Path, header: Any) -> np.dtype[np.generic]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _COLOUR:
        raise InputError("rgb", path, "it is a colour picture (RGB)", "Give the scan itself, not a rendering of it")
    if code in _COMPLEX:
        raise InputError("complex", path, "it holds complex numbers", "Give the magnitude image")
    if code not in _DTYPES:
        raise InputError("unknown-dtype", path, f"its header names an unknown type of voxels ({code})", _AGAIN)
    dtype = np.dtype(_DTYPES[code])
    if bits not in (0, 8 * dtype.itemsize):
        raise InputError("bad-header", path, f"its header claims {bits} bits for voxels of {dtype}", _AGAIN)
    return dtype


def _offset(stream: ByteStream, header: Any, size: int, *, pair: bool, big: bool) -> tuple[int, list[str]]:
    """Return the number of bytes before the voxels, after checking the extensions in them, and notes."""
    path, stated = stream.path, float(header["vox_offset"])
    if not math.isfinite(stated) or stated != int(stated) or stated < 0:
        raise InputError("bad-header", path, f"its header puts the voxels at byte {stated:g}", _AGAIN)
    offset = int(stated)
    if pair:
        if offset > _MAX_EXTENSIONS:
            raise InputError("bad-header", path, f"its header puts the voxels at byte {offset}", _AGAIN)
        return offset, []
    if not size + 4 <= offset <= min(_MAX_EXTENSIONS, stream.capacity):
        raise InputError("bad-header", path, f"its header puts the voxels at byte {offset}", _AGAIN)
    flag, position = stream.read(4), size + 4
    if len(flag) < 4:
        raise InputError("truncated", path, "it ends behind its header", "Copy or download the file again")
    if flag[0] and offset == position:
        return offset, ["The header announces extensions, but there are none."]
    while flag[0] and position + 8 <= offset:
        length = int.from_bytes(stream.read(8)[:4], "big" if big else "little", signed=True)
        if length == 0:
            position += 8
            break  # padding after the last extension
        if length < 8 or length > offset - position:
            raise InputError("bad-header", path, f"its header extension claims {length} bytes", _AGAIN)
        stream.skip(length - 8)
        position += length
    stream.skip(offset - position)
    return offset, []


def _scaling(header: Any) -> tuple[float, float, list[str]]:
    """Return slope, intercept, and a note if they are invalid."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isnan(slope) or slope == 0:
        return 1.0, 0.0, []
    if math.isinf(slope) or math.isinf(intercept):
        return 1.0, 0.0, [f"The intensity scaling (slope {slope:g}, intercept {intercept:g}) was ignored."]
    return slope, 0.0 if math.isnan(intercept) else intercept, []
