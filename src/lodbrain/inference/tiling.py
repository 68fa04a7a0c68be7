"""Geometry of tiles: boxes in voxels, aligned to multiples, with halos of real voxels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Tile:
    """A part of a box, and the voxels that must be read to compute it.

    Attributes
    ----------
    core : Box
        (start, stop) along each axis of the voxels that this tile computes.
    read : Box
        The core and its halo, clipped to the box.
    """

    core: Box
    read: Box


def shape_of(box: Box) -> tuple[int, int, int]:
    """Return the number of voxels of a box along each axis."""
    x, y, z = (stop - start for start, stop in box)
    return x, y, z


def offset(box: Box, origin: Box) -> Box:
    """Return a box in voxels relative to the start of another."""
    x, y, z = ((start - zero, stop - zero) for (start, stop), (zero, _) in zip(box, origin, strict=True))
    return x, y, z


def slices(box: Box) -> tuple[slice, slice, slice]:
    """Return the box as slices."""
    x, y, z = (slice(start, stop) for start, stop in box)
    return x, y, z


def grow(box: Box, margin: tuple[int, int, int], shape: tuple[int, int, int], align: int) -> Box:
    """Return a box with a margin, widened to multiples of `align` and clipped to the volume.

    Parameters
    ----------
    margin : tuple of 3 int
        Voxels added on either side of each axis.
    shape : tuple of 3 int
        Shape of the volume, multiples of `align`.
    align : int
        Starts and stops are multiples of it.
    """
    x, y, z = (
        (max(0, (start - m) // align * align), min(n, -(-(stop + m) // align) * align))
        for (start, stop), m, n in zip(box, margin, shape, strict=True)
    )
    return x, y, z


def tiles(box: Box, *, halo: int, align: int, most_voxels: int) -> Iterator[Tile]:
    """Yield tiles of a box, each of which reads at most `most_voxels`; their cores cover the box once.

    The longest side of the parts is cut first, which keeps the halos, and so repeated computation, small.

    Parameters
    ----------
    box : Box
        Aligned to `align`.
    halo : int
        Voxels of the box read around a core, a multiple of `align`.
    align : int
        All starts and stops are multiples of it.
    most_voxels : int
        Largest number of voxels that one tile reads. If no aligned cube fits, the cores are cubes of side `align`.

    Examples
    --------
    >>> for tile in tiles(((2, 14), (0, 4), (0, 4)), halo=2, align=2, most_voxels=160):
    ...     print(tile.core[0], tile.read[0])
    (2, 8) (2, 10)
    (8, 14) (6, 14)
    """
    parts = [1, 1, 1]
    sizes = list(shape_of(box))

    def core(axis: int) -> int:
        return -(-sizes[axis] // (parts[axis] * align)) * align

    def read_voxels() -> int:
        total = 1
        for axis in range(3):
            total *= min(core(axis) + 2 * halo, sizes[axis])
        return total

    while read_voxels() > most_voxels:
        axis = max(range(3), key=core)
        if core(axis) <= align:
            break
        parts[axis] += 1
    edges = []
    for axis, (start, stop) in enumerate(box):
        step = core(axis)
        edges.append([(a, min(a + step, stop)) for a in range(start, stop, step)])
    for x, y, z in product(*edges):
        part: Box = (x, y, z)
        a, b, c = (
            (max(start - halo, least), min(stop + halo, most))
            for (start, stop), (least, most) in zip(part, box, strict=True)
        )
        yield Tile(part, (a, b, c))
