"""Grids, levels and outputs of one segmentation, from which its memory requirement is calculated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lodbrain.inference.decide import n_volumes
from lodbrain.inference.prediction import Pooling
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.tiling import Box
from lodbrain.labels import N_CLASSES, SIDELESS
from lodbrain.models.lod import Ladder

#: Box assumed to contain any brain before its position is known, in RAS order: brains of adults are up to 190 mm long
#: and 160 mm wide; a tilted head needs some more.
LARGEST_BRAIN_MM = (170.0, 200.0, 180.0)


@dataclass(frozen=True)
class LevelSize:
    """Properties of a level that determine its memory.

    Attributes
    ----------
    channels : int
        Channels at the level's own resolution.
    logits : int
        Logits per voxel.
    radius, stride : int
        As in `models.lod.Level`.
    itemsize : int
        Bytes of a number in its convolutions.
    block : int
        As in `models.lod.LevelConfig`.
    """

    channels: int
    logits: int
    radius: int
    stride: int
    itemsize: int
    block: int = 1

    @property
    def tile_bytes(self) -> float:
        """Peak bytes per voxel of a tile: three tensors of a residual block; the image before and after scaling."""
        return 3 * self.hole_bytes + 16

    @property
    def hole_bytes(self) -> float:
        """Bytes per voxel of freed memory that the heap retains: one tensor (measured: 0.5 to 0.9 of one)."""
        return self.channels * self.itemsize / self.block**3

    def result_bytes(self, logits: int) -> int:
        """Return the bytes per voxel of a level output: features, and float32 logits."""
        return self.channels * self.itemsize + 4 * logits


@dataclass(frozen=True)
class Work:
    """The grids, levels and outputs of one segmentation.

    Attributes
    ----------
    scan, grid : WorkingGrid
        The scan's own grid, and the grid that the networks run on.
    levels : tuple of LevelSize
        Levels that run, coarsest first.
    stored_bytes : int
        Bytes of a voxel in the file.
    posteriors : int
        Number of volumes of posteriors that are returned.
    second : bool
        Whether LOD-Brain runs as a second member (`inference.second_opinion`).
    unused : int
        Number of finer levels that do not run. The images of `levels` are pooled from `grid` as if they did.
    mask_only : bool
        Whether the last level gives log odds of brain for a mask (`inference.brain_mask`), and no decisions.
    """

    scan: WorkingGrid
    grid: WorkingGrid
    levels: tuple[LevelSize, ...]
    stored_bytes: int = 4
    posteriors: int = 0
    second: bool = False
    unused: int = 0
    mask_only: bool = False

    @classmethod
    def of(
        cls,
        ladder: Ladder,
        scan: WorkingGrid,
        grid: WorkingGrid,
        *,
        dtype: torch.dtype,
        posteriors: bool,
        pooling: Pooling | None = None,
        second: bool = False,
    ) -> Work:
        """Return the work of a ladder whose coarsest level computes in float32 and all others in `dtype`."""
        volumes = n_volumes(pooling) if posteriors else 0
        levels = []
        for p in range(ladder.level_for(grid.voxel_mm) + 1):
            level = ladder.level(p)
            logits = N_CLASSES if level.config.sided else len(SIDELESS) + 1
            itemsize = dtype.itemsize if p else torch.float32.itemsize
            config = level.config
            levels.append(LevelSize(config.channels[0], logits, level.radius, level.stride, itemsize, config.block))
        return cls(scan, grid, tuple(levels), posteriors=volumes, second=second and len(levels) > 1)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the levels' images, coarsest first."""
        shapes = [self.grid.shape]
        for _ in range(self.unused + len(self.levels) - 1):
            x, y, z = (-(-n // 2) for n in shapes[0])
            shapes.insert(0, (x, y, z))
        return shapes[: len(self.levels)]

    @property
    def voxels_mm(self) -> list[float]:
        """Voxel sides of the levels' images, coarsest first."""
        last = len(self.levels) - 1
        return [self.grid.voxel_mm * 2.0 ** (self.unused + last - p) for p in range(last + 1)]

    def for_mask(self, position: int) -> Work:
        """Return the work of a brain mask from the levels up to `position`, where 0 is the coarsest."""
        kept = self.levels[: position + 1]
        return replace(self, levels=kept, unused=len(self.levels) - len(kept), mask_only=True, second=False)

    @property
    def largest_brain(self) -> Box:
        """Box of `LARGEST_BRAIN_MM` in the middle of the scan, on the coarsest grid."""
        shape, voxel_mm = self.shapes[0], self.voxels_mm[0]
        sides = [min(n, math.ceil(mm / voxel_mm)) for n, mm in zip(shape, LARGEST_BRAIN_MM, strict=True)]
        x, y, z = (((n - side) // 2, (n - side) // 2 + side) for n, side in zip(shape, sides, strict=True))
        return x, y, z
