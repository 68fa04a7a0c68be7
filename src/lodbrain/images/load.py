"""Loading of an image file: its checked layout, and then the stored voxels of one volume."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lodbrain.errors import InputError
from lodbrain.images import mgh, nifti
from lodbrain.images.layout import Layout, check_size
from lodbrain.images.stream import ByteStream

_AGAIN = "Copy or download the file again"
_GZIP_NAMES, _PLAIN_NAMES, _MGH_NAMES = (".gz", ".mgz"), (".nii", ".hdr", ".img", ".mgh"), (".mgh", ".mgz", ".mgh.gz")


def read_layout(path: Path, frame: int | None = None) -> Layout:
    """Return the checked layout of an image file; no voxel is read, and checksums are not verified.

    Parameters
    ----------
    path : Path
        Image, or either file of a ``.hdr`` and ``.img`` pair.
    frame : int or None
        Volume of a 4D file, from 0.

    Raises
    ------
    InputError
        If the file is missing, not an image, or not one volume of real numbers; or its header is damaged.
    """
    with ExitStack() as stack:
        return _begin(stack, path, frame)[0]


def load(path: Path, frame: int | None, *, room: int = 1) -> tuple[Layout, bytearray, list[str]]:
    """Return the layout, the stored voxels of one frame, and notes; the whole file is read and verified.

    Parameters
    ----------
    path, frame
        As in `read_layout`.
    room : int
        Smallest number of bytes per voxel in the buffer; smaller voxels are stored at its end.

    Raises
    ------
    InputError
        As in `read_layout`, or if the voxels are damaged.
    """
    with ExitStack() as stack:
        layout, stream, position = _begin(stack, path, frame)
        try:
            buffer = bytearray(max(layout.frame_bytes, room * math.prod(layout.shape)))
        except MemoryError as error:
            raise InputError("too-large", path, "its voxels do not fit into memory", "Use a larger machine") from error
        before = (frame or 0) * layout.frame_bytes
        after = (layout.frames - 1) * layout.frame_bytes - before
        complete = (
            position == layout.offset
            and stream.skip(before) == before
            and stream.fill(memoryview(buffer)[-layout.frame_bytes :]) == layout.frame_bytes
            and stream.skip(after) == after
        )
        surplus, garbage = stream.finish()
        if not complete:
            raise InputError("truncated", stream.path, "it holds fewer voxels than its header claims", _AGAIN)
        notes = list(layout.notes)
        unexpected = garbage + (0 if layout.tail else surplus)
        if unexpected:
            notes.append(f"{unexpected} bytes behind the voxels were ignored.")
        return layout, buffer, notes


def _begin(stack: ExitStack, path: Path, frame: int | None) -> tuple[Layout, ByteStream, int]:
    """Return the layout, the stream of the file that holds the voxels, and the position of the stream in it."""
    stream = stack.enter_context(ByteStream(_header_file(path)))
    head = stream.read(4)
    layout = _layout(stream, head)
    layout = replace(layout, notes=(*_name_notes(stream, head), *layout.notes))
    position = layout.offset
    if layout.pair:
        stream.finish()
        stream = stack.enter_context(ByteStream(_partner(stream.path, ".img")))
        position = stream.skip(layout.offset)
    check_size(stream.path, layout, size=stream.size, capacity=stream.capacity, compressed=stream.compressed)
    _check_frame(path, layout, frame)
    return layout, stream, position


def _layout(stream: ByteStream, head: bytes) -> Layout:
    """Return the layout, with the format detected by content.

    If the header is invalid and the stream is damaged as well, the error reports the damage, which is the cause.
    """
    try:
        if mgh.is_mgh(head):
            return mgh.read_layout(stream, head)
        if nifti.is_nifti(head):
            return nifti.read_layout(stream, head)
        raise InputError("wrong-format", stream.path, "it is not a NIfTI or MGH image", "Convert the scan to NIfTI")
    except InputError as shallow:
        try:
            stream.finish()
        except InputError as deeper:
            if deeper.code in ("damaged", "truncated"):
                raise deeper from shallow
        raise


def _check_frame(path: Path, layout: Layout, frame: int | None) -> None:
    if frame is None and layout.frames > 1:
        raise InputError(
            "4d",
            path,
            f"it holds {layout.frames} volumes",
            f"Choose one with --frame N, from 0 to {layout.frames - 1}, where a command has this option; "
            "for others save that volume in a file of its own",
        )
    if frame is not None and not 0 <= frame < layout.frames:
        raise InputError("no-such-frame", path, f"it has no frame {frame}", f"Its frames are 0 to {layout.frames - 1}")


def _header_file(path: Path) -> Path:
    """Return the ``.hdr`` of an ``.img``; any other path unchanged."""
    name = path.name.lower().removesuffix(".gz")
    return _partner(path, ".hdr") if name.endswith(".img") and path.exists() else path


def _partner(path: Path, suffix: str) -> Path:
    """Return the other file of a pair, plain or gzip."""
    stem = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem = stem.rpartition(".")[0] or stem
    for name in (stem + suffix, stem + suffix + ".gz", stem + suffix.upper()):
        if (partner := path.with_name(name)).exists():
            return partner
    raise InputError("missing-pair", path, f"{stem}{suffix} is missing beside it", "Copy both files of the pair")


def _name_notes(stream: ByteStream, head: bytes) -> list[str]:
    """Return notes if the file's suffix does not match its content."""
    name, notes = stream.path.name.lower(), []
    if stream.compressed and name.endswith(_PLAIN_NAMES):
        notes.append(f"The file is gzip-compressed although its name ends in {stream.path.suffix}.")
    if not stream.compressed and name.endswith(_GZIP_NAMES):
        notes.append(f"The file is not compressed although its name ends in {stream.path.suffix}.")
    if mgh.is_mgh(head) != name.endswith(_MGH_NAMES) and (mgh.is_mgh(head) or name.endswith(_MGH_NAMES)):
        kind = "MGH" if mgh.is_mgh(head) else "NIfTI"
        notes.append(f"The file is in the {kind} format although its name ends in {stream.path.suffix}.")
    return notes
