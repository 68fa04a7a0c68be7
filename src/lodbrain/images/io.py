"""Reading of scans and label maps with all checks, and writing of results on their grid."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images import mgh, nifti
from lodbrain.images.geometry import check_affine
from lodbrain.images.image import Image
from lodbrain.images.layout import Layout
from lodbrain.images.load import load
from lodbrain.images.values import looks_like_labels, to_intensities, to_labels
from lodbrain.system.atomic import atomic

PathLike = str | os.PathLike[str]

#: zlib levels. Label map of 256^3 int16: level 1 0.05 s, 4 0.10 s and 39% smaller, 6 0.13 s and 43% smaller.
#: Posteriors hardly shrink at any level, so the fastest is used.
LEVEL_LABELS, _LEVEL_FLOATS = 4, 1

#: Planes that are written at once.
SLAB = 16


def read_image(path: PathLike, *, frame: int | None = None, allow_odd_voxels: bool = False) -> Image:
    """Return a scan with float32 intensities.

    The file is read to its end and its checksums are verified. Issues that can be corrected are corrected and recorded
    in `Image.notes`.

    Parameters
    ----------
    path : str or PathLike
        NIfTI-1 or NIfTI-2 (``.nii``, ``.nii.gz``, a ``.hdr`` and ``.img`` pair) or MGH (``.mgh``, ``.mgz``), detected
        by content.
    frame : int, optional
        Volume of a 4D file, from 0.
    allow_odd_voxels : bool
        Whether to accept voxel sides outside 0.1 to 10 mm.

    Returns
    -------
    Image
        data (X, Y, Z) float32, finite; affine in mm.

    Raises
    ------
    InputError
        If the file is missing, damaged, or not a scan.

    Examples
    --------
    >>> image = read_image("scan.nii.gz")  # doctest: +SKIP
    >>> image.shape, image.spacing_mm  # doctest: +SKIP
    """
    source = Path(path)
    layout, buffer, notes = load(source, frame, room=4)  # converted to float32 in place
    notes += check_affine(source, layout.affine, layout.shape, allow_odd_voxels=allow_odd_voxels)
    return as_scan(source, layout, buffer, notes)


def as_scan(path: Path, layout: Layout, buffer: bytearray, notes: list[str]) -> Image:
    """Return stored voxels as a scan; they lie at the end of the buffer, which is overwritten."""
    values, corrections = to_intensities(
        path, buffer, layout.dtype, shape=layout.shape, slope=layout.slope, intercept=layout.intercept
    )
    return _as_image(values, layout.shape, layout.affine, layout.header, [*notes, *corrections])


def read_array(data: NDArray[Any], affine: NDArray[np.float64], *, allow_odd_voxels: bool = False) -> Image:
    """Return a scan from an array, with the checks of `read_image`.

    Parameters
    ----------
    data : (X, Y, Z) int or float
        The array is copied.
    affine : (4, 4) float
        Voxel to millimetres, RAS.
    allow_odd_voxels : bool
        Whether to accept voxel sides outside 0.1 to 10 mm.

    Raises
    ------
    InputError
        If the array is not a scan.
    """
    data, affine = np.asarray(data), np.asarray(affine, dtype=np.float64)
    if data.ndim != 3 or 1 in data.shape or 0 in data.shape:
        raise InputError("bad-array", None, f"the array's shape is {data.shape}", "Give a volume (X, Y, Z)")
    if data.dtype.kind not in "biuf":
        raise InputError("bad-array", None, f"the array holds {data.dtype}", "Give real numbers")
    if affine.shape != (4, 4):
        raise InputError("bad-affine", None, f"the affine's shape is {affine.shape}", "Give (4, 4)")
    if data.dtype.kind == "b" or data.dtype.itemsize not in (1, 2, 4, 8) or data.dtype == np.float16:
        data = data.astype(np.float32)
    shape = (data.shape[0], data.shape[1], data.shape[2])
    notes = check_affine(None, affine, shape, allow_odd_voxels=allow_odd_voxels)
    values, corrections = to_intensities(None, bytearray(data.tobytes("F")), data.dtype, shape=shape)
    return _as_image(values, shape, affine, None, [*notes, *corrections])


def read_labels(path: PathLike) -> Image:
    """Return a label map with integer data.

    Parameters
    ----------
    path : str or PathLike
        As for `read_image`. Integers stored as floats are accepted.

    Returns
    -------
    Image
        data (X, Y, Z), in the smallest of int16, int32 and int64 that holds the labels.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds values that are not integers.
    """
    source = Path(path)
    layout, buffer, notes = load(source, None)
    check_affine(source, layout.affine, layout.shape, allow_odd_voxels=True)
    labels, corrections = to_labels(source, buffer, layout.dtype, slope=layout.slope, intercept=layout.intercept)
    data = labels.reshape(layout.shape, order="F")
    return Image(data, layout.affine, layout.header, tuple([*notes, *corrections]))


def write_nifti(path: PathLike, data: NDArray[Any], like: Image, *, description: str = "") -> None:
    """Write a result on the grid of an image as NIfTI, atomically; errors as in `write_image`.

    qform, sform, both codes, voxel sizes and units are those of `like`. The output is deterministic.

    Parameters
    ----------
    path : str or PathLike
        ``.nii`` or ``.nii.gz``.
    data : (X, Y, Z) or (X, Y, Z, C)
        On `like`'s grid. The dtype is kept; bool becomes uint8, float16 (which NIfTI lacks) float32.
    like : Image
        Image that defines the grid.
    description : str
        Free text for the header, at most 79 bytes.
    """
    if not os.fspath(path).endswith((".nii", ".nii.gz")):
        raise ValueError(f"path must end in .nii or .nii.gz, got {Path(path).name!r}")
    write_image(path, data, like, description=description)


def write_image(path: PathLike, data: NDArray[Any], like: Image, *, description: str = "") -> None:
    """Write a result on the grid of an image, atomically, in the format that its name tells.

    Parameters
    ----------
    path : str or PathLike
        ``.nii`` or ``.nii.gz``, as by `write_nifti`; or ``.mgz``, whose types and precision `mgh.result_header` tells.
    data, like, description
        As in `write_nifti`. MGH holds no description.

    Raises
    ------
    ValueError
        If `data` is not on `like`'s grid or of a type that the format lacks, or the name has another suffix.
    OutputError
        If the file cannot be written.
    """
    _check_grid(data, like)
    if os.fspath(path).endswith(".mgz"):
        head, stored = mgh.result_header(like.affine, data.shape, data.dtype)
    else:
        head, stored = _nifti_head(data, like, description)
    write_voxels(Path(path), head, _slabs(data), stored, level=_LEVEL_FLOATS if stored.kind == "f" else LEVEL_LABELS)


def write_voxels(
    target: Path, head: bytes, slabs: Iterable[NDArray[Any]], stored: np.dtype[Any], *, level: int
) -> None:
    """Write an image file atomically: its header, then slabs of voxels; the same input gives the same bytes.

    Parameters
    ----------
    target : Path
        ``.nii``, ``.nii.gz`` or ``.mgz``.
    head : bytes
        All bytes before the first voxel.
    slabs : iterable of (X, Y, n)
        In the order of the file.
    stored : numpy dtype
        Type that they are stored as, with byte order.
    level : int
        zlib's, for a compressed file.
    """
    if not target.name.endswith((".nii", ".nii.gz", ".mgz")):
        raise ValueError(f"path must end in .nii, .nii.gz or .mgz, got {target.name!r}")
    with atomic(target) as temporary, ExitStack() as stack:
        plain = stack.enter_context(temporary.open("wb"))
        file: IO[bytes] | gzip.GzipFile = plain
        if not target.name.endswith(".nii"):
            # No name and time in the gzip header, so that the bytes depend on the content alone.
            file = stack.enter_context(gzip.GzipFile("", "wb", level, plain, mtime=0))
        file.write(head)
        for slab in slabs:
            # A compact copy before reordering to the file's order is four times as fast if strides are powers of 2.
            file.write(slab.astype(stored, order="K").tobytes("F"))


def nifti_bytes(data: NDArray[Any], like: Image, *, description: str = "") -> bytes:
    """Return the bytes that `write_nifti` writes into a ``.nii``.

    Raises
    ------
    ValueError
        If `data` is not on `like`'s grid.
    """
    _check_grid(data, like)
    head, stored = _nifti_head(data, like, description)
    return head + data.astype(stored, order="K").tobytes("F")


def _check_grid(data: NDArray[Any], like: Image) -> None:
    if data.ndim not in (3, 4) or data.shape[:3] != like.shape:
        raise ValueError(f"data must be on the grid {like.shape}, got {data.shape}")


def _nifti_head(data: NDArray[Any], like: Image, description: str) -> tuple[bytes, np.dtype[Any]]:
    """Return the bytes before the voxels, and the dtype that the voxels are stored as."""
    stored = np.dtype({"b1": "u1", "f2": "f4"}.get(data.dtype.str[1:], data.dtype)).newbyteorder("<")
    return nifti.result_header(like.header, like.affine, data.shape, stored, description), stored


def _as_image(
    values: NDArray[np.float32], shape: tuple[int, int, int], affine: NDArray[np.float64], header: Any, notes: list[str]
) -> Image:
    """Return intensities (N,) in the order of a file as an image, with a note if it looks like a label map."""
    data = values.reshape(shape, order="F")
    if looks_like_labels(data):
        notes.append("It looks like a label map or a mask, not a scan.")
    return Image(data, affine, header, tuple(notes))


def _slabs(data: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield slabs (X, Y, up to 16) in the order of the file."""
    volumes = [data] if data.ndim == 3 else [data[..., channel] for channel in range(data.shape[3])]
    for volume in volumes:
        for z in range(0, volume.shape[2], SLAB):
            yield volume[:, :, z : z + SLAB]
