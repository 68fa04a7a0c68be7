"""Where each level works: the brain that the coarsest one has seen, with a margin that grows from fine to coarse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from lodbrain.inference.tiling import Box, grow

#: Around the coarse brain mask: what the mask may have missed.
MARGIN_MM = 12.0
#: Doubling looks at one coarse voxel beyond the tile.
DOUBLING_HALO = 2


class Reach(Protocol):
    """What of a level decides its boxes."""

    @property
    def radius(self) -> int:
        """Receptive radius in voxels."""

    @property
    def stride(self) -> int:
        """Multiple that the pooling needs."""


def alignment(level: Reach) -> int:
    """Multiple that boxes of a level start and stop on: coarse voxels and the pooling fit."""
    return max(2, level.stride)


def halo(level: Reach) -> int:
    """Voxels that a tile of a level reads around its core."""
    align = alignment(level)
    return -(-(level.radius + DOUBLING_HALO) // align) * align


def aligned(box: Box, level: Reach, shape: Sequence[int]) -> Box:
    """A box widened to a level's alignment and clipped to its padded volume of at least `shape` voxels."""
    align = alignment(level)
    x, y, z = (-(-n // align) * align for n in shape)
    return grow(box, (0, 0, 0), (x, y, z), align)


def boxes_around(
    brain: Box, levels: Sequence[Reach], shapes: Sequence[tuple[int, int, int]], voxels_mm: Sequence[float]
) -> list[Box]:
    """The box of each level's grid that it works on, around a box of the coarsest.

    The margin is `MARGIN_MM` and no less than the receptive radius, so that every voxel of the brain is judged by real
    voxels only, and what the level below needs is there.

    Parameters
    ----------
    brain : Box
        On the coarsest level's grid.
    levels : sequence of Reach
    shapes : sequence of tuple of 3 int
        Of the levels' images, coarsest first, like all of these.
    voxels_mm : sequence of float
        Their voxel sides.
    """
    boxes: list[Box] = [brain]
    margin_mm = 0.0
    for p in reversed(range(1, len(shapes))):
        margin_mm = max(MARGIN_MM, levels[p].radius * voxels_mm[p], margin_mm + DOUBLING_HALO * voxels_mm[p])
        margin = math.ceil(margin_mm / voxels_mm[p])
        x, y, z = ((start * 2**p - margin, stop * 2**p + margin) for start, stop in brain)
        boxes.insert(1, aligned((x, y, z), levels[p], shapes[p]))
    return boxes
