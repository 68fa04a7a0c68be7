"""Boxes of the levels: the brain found by the coarsest level, with a margin that grows from fine to coarse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from lodbrain.inference.tiling import Box, grow

#: Margin around the coarse brain mask, for brain that the mask may have missed.
MARGIN_MM = 12.0
#: Fine voxels that upsampling by 2 reads beyond the tile: one coarse voxel.
DOUBLING_HALO = 2


class Reach(Protocol):
    """Properties of a level that determine its boxes."""

    @property
    def radius(self) -> int:
        """Receptive radius in voxels."""

    @property
    def stride(self) -> int:
        """Multiple that the pooling requires of the box's sides."""


def alignment(level: Reach) -> int:
    """Return the multiple that a level's boxes start and stop on, so that they hold whole coarse and pooled voxels."""
    return max(2, level.stride)


def halo(level: Reach) -> int:
    """Return how many voxels a tile of a level reads around its core."""
    align = alignment(level)
    return -(-(level.radius + DOUBLING_HALO) // align) * align


def aligned(box: Box, level: Reach, shape: Sequence[int]) -> Box:
    """Return a box widened to a level's alignment and clipped to its padded volume of at least `shape` voxels."""
    align = alignment(level)
    x, y, z = (-(-n // align) * align for n in shape)
    return grow(box, (0, 0, 0), (x, y, z), align)


def boxes_around(
    brain: Box, levels: Sequence[Reach], shapes: Sequence[tuple[int, int, int]], voxels_mm: Sequence[float]
) -> list[Box]:
    """Return the box that each level processes on its own grid, around the brain's box on the coarsest.

    The margin is at least `MARGIN_MM` and the receptive radius, so that no voxel of the brain is predicted from
    padding, and the box contains all voxels that the next finer level reads.

    Parameters
    ----------
    brain : Box
        On the coarsest level's grid.
    shapes : sequence of tuple of 3 int
        Shapes of the levels' images. All three sequences are ordered coarsest first.
    voxels_mm : sequence of float
        Voxel sides of the levels' images.
    """
    boxes: list[Box] = [brain]
    margin_mm = 0.0
    for p in reversed(range(1, len(shapes))):
        margin_mm = max(MARGIN_MM, levels[p].radius * voxels_mm[p], margin_mm + DOUBLING_HALO * voxels_mm[p])
        margin = math.ceil(margin_mm / voxels_mm[p])
        x, y, z = ((start * 2**p - margin, stop * 2**p + margin) for start, stop in brain)
        boxes.insert(1, aligned((x, y, z), levels[p], shapes[p]))
    return boxes
