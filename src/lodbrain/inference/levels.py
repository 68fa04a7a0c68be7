"""Run one level of the ladder over a box of its grid, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lodbrain.images.intensity import Scaling
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import pad_to
from lodbrain.inference.tiling import Box, grow, shape_of, slices, tiles
from lodbrain.labels import N_CLASSES
from lodbrain.models.lod import Detail, Ladder, Level

#: Doubling looks at one coarse voxel beyond the tile.
DOUBLING_HALO = 2


@dataclass(frozen=True, eq=False)
class Stage:
    """A level's result over a box of its own grid."""

    detail: Detail
    box: Box


@dataclass(frozen=True, eq=False)
class Run:
    """What all levels of one scan share.

    Attributes
    ----------
    network : Ladder
        In eval mode.
    images : tuple of (X, Y, Z) float32 tensors
        The scan as each level sees it, coarsest first, not scaled; each is `pool` of the next.
    voxels_mm : tuple of float
        Their voxel sides.
    scaling : Scaling
        Of the images.
    dtype : torch.dtype
        Arithmetic of the convolutions.
    options : Options
    """

    network: Ladder
    images: tuple[torch.Tensor, ...]
    voxels_mm: tuple[float, ...]
    scaling: Scaling
    dtype: torch.dtype
    options: Options

    def align(self, position: int) -> int:
        """Multiple that boxes of a level start and stop on: coarse voxels and the pooling fit."""
        return max(2, self.network.level(position).stride)

    def aligned(self, box: Box, position: int) -> Box:
        """A box widened to `align` and clipped to the level's padded volume."""
        align = self.align(position)
        x, y, z = (-(-n // align) * align for n in self.images[position].shape)
        return grow(box, (0, 0, 0), (x, y, z), align)

    def detail(self, position: int, image: torch.Tensor, coarse: Detail | None) -> Detail:
        """A level's result for a scaled (X, Y, Z) image, and the coarse result under it."""
        level = self.network.level(position)
        told = math.log2(self.voxels_mm[position]) - level.config.exponent
        x = image[None, None].contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(image.device.type, self.dtype, enabled=self.dtype != torch.float32):
            detail: Detail = level(x, torch.tensor([told], device=image.device), coarse)
        return detail


def most_voxels(level: Level, dtype: torch.dtype, options: Options) -> int:
    """Voxels that one tile may read."""
    if options.tile_voxels is not None:
        return options.tile_voxels
    # Measured on a U-Net of 16 channels: about 10 tensors of its first width live at the peak, and two sets of logits.
    size = 2 if dtype == torch.bfloat16 else 4
    bytes_per_voxel = (10 * level.config.channels[0] + 3 * N_CLASSES) * size
    limit = 1.0e9 if options.memory_bytes is None else max(1e8, min(1.0e9, 0.4 * options.memory_bytes))
    return int(limit / bytes_per_voxel)


def each_tile(run: Run, position: int, above: Stage, box: Box) -> Iterator[tuple[Detail, Box, float]]:
    """A level's results over a box that is `aligned`.

    Parameters
    ----------
    run : Run
    position : int
        Of the level, above 0.
    above : Stage
        Result of the level above.
    box : Box

    Yields
    ------
    detail : Detail
        Over a tile.
    core : Box
        Of the tile.
    share : float
        Of the tiles that are done, 1 with the last.
    """
    level = run.network.level(position)
    align = run.align(position)
    image = run.images[position]
    x, y, z = (-(-n // align) * align for n in image.shape)
    shape = (x, y, z)
    halo = -(-(level.radius + DOUBLING_HALO) // align) * align
    limit = most_voxels(level, run.dtype, run.options)
    cut = list(tiles(box, shape, halo=halo, align=align, most_voxels=limit))
    for number, tile in enumerate(cut, 1):
        scaled = run.scaling.apply(image[slices(tile.read)])  # a slice beyond the far edge ends at it
        detail = run.detail(position, pad_to(scaled, align), _under(above, tile.read))
        yield _crop(detail, tile.inside), tile.core, number / len(cut)


def refine(run: Run, position: int, above: Stage, box: Box) -> Stage:
    """A level's features and logits over a box that is `aligned`, for the next level."""
    whole: Detail | None = None
    for part, core, _ in each_tile(run, position, above, box):
        if core == box:
            return Stage(part, box)
        if whole is None:
            whole = part.map(lambda t: t.new_empty((*t.shape[:2], *shape_of(box))))
        x, y, z = (slice(a - s, b - s) for (a, b), (s, _) in zip(core, box, strict=True))
        whole.features[:, :, x, y, z] = part.features
        whole.logits[:, :, x, y, z] = part.logits
        if whole.side is not None and part.side is not None:
            whole.side[:, :, x, y, z] = part.side
    assert whole is not None  # a box has at least one tile
    return Stage(whole, box)


def _crop(detail: Detail, inside: tuple[slice, slice, slice]) -> Detail:
    return detail.map(lambda t: t[(slice(None), slice(None), *inside)])


def _under(stage: Stage, read: Box) -> Detail:
    """The coarse result under a box of the next finer grid; beyond the coarse box its last voxels are repeated."""

    def cut(t: torch.Tensor) -> torch.Tensor:
        inside = [
            (start // 2 - s, -(-stop // 2) - s, n)
            for (start, stop), (s, _), n in zip(read, stage.box, t.shape[2:], strict=True)
        ]
        if all(a >= 0 and b <= n for a, b, n in inside):
            (a, b, _), (c, d, _), (e, f, _) = inside
            return t[:, :, a:b, c:d, e:f]
        for axis, (a, b, n) in enumerate(inside, 2):
            t = t.index_select(axis, torch.arange(a, b, device=t.device).clamp(0, n - 1))
        return t

    return stage.detail.map(cut)
