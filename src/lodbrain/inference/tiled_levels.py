"""Tiled inference of one level of the ladder over a box of its grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lodbrain.images.intensity import Scaling
from lodbrain.inference.boxes import alignment, halo
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import pad_to
from lodbrain.inference.tiling import Box, offset, shape_of, slices, tiles
from lodbrain.models.folded import FoldedLevel
from lodbrain.models.lod import LevelOutput
from lodbrain.system.memory import give_back

#: Voxels whose logits are held at once.
SCORED_VOXELS = 128_000


@dataclass(frozen=True, eq=False)
class BoxOutput:
    """A level output over a box of the level's grid."""

    output: LevelOutput
    box: Box


@dataclass(frozen=True, eq=False)
class Run:
    """Levels, images and settings of one scan's inference.

    Attributes
    ----------
    levels : tuple of FoldedLevel
        Coarsest first.
    images : tuple of (X, Y, Z) float32 tensors
        Input image of each level, coarsest first, not scaled; each is `pool` of the next.
    tile_voxels : tuple of int
        Largest number of voxels that a tile of each level may read; empty for no limit.
    """

    levels: tuple[FoldedLevel, ...]
    images: tuple[torch.Tensor, ...]
    voxels_mm: tuple[float, ...]
    scaling: Scaling
    options: Options
    tile_voxels: tuple[int, ...] = ()

    def features(self, position: int, image: torch.Tensor, coarse: LevelOutput | None) -> torch.Tensor:
        """Return a level's features of an unscaled image (X, Y, Z), conditioned on the coarse level output."""
        level = self.levels[position]
        voxel_size = math.log2(self.voxels_mm[position]) - level.config.exponent
        return level.features(pad_to(self.scaling.apply(image), level.stride)[None, None], voxel_size, coarse)


def each_part(run: Run, position: int, above: BoxOutput, box: Box) -> Iterator[tuple[LevelOutput, Box, float]]:
    """Yield a level's outputs over a box that is `boxes.aligned`, slab by slab of each tile.

    Parameters
    ----------
    above : BoxOutput
        Output of the next coarser level.

    Yields
    ------
    output : LevelOutput
        Level output over a slab.
    part : Box
        Box of the slab.
    share : float
        Share of tiles done, 1 with the last.
    """
    level = run.levels[position]
    image = run.images[position]
    most = run.tile_voxels[position] if run.tile_voxels else math.prod(shape_of(box))
    cut = list(tiles(box, halo=halo(level), align=alignment(level), most_voxels=most))
    above = BoxOutput(level.for_next(above.output), above.box)
    for number, tile in enumerate(cut, 1):
        coarse = _under(above, tile.read)
        features = run.features(position, image[slices(tile.read)], coarse)  # slices are clipped at the far edge
        for part in slabs(tile.core):
            where = offset(part, tile.read)
            yield level.score(features, coarse, where), part, number / len(cut)
        del features, coarse  # else they are kept while the next tile's are computed
        give_back()  # small allocations fragment the heap: without this, 18 tiles took twice the memory of one


def slabs(box: Box) -> Iterator[Box]:
    """Yield slabs of a box, cut along its first axis; all but the last have an even number of rows."""
    (start, stop), y, z = box
    rows = max(2, SCORED_VOXELS // max(1, (y[1] - y[0]) * (z[1] - z[0])) // 2 * 2)
    for first in range(start, stop, rows):
        yield (first, min(first + rows, stop)), y, z


def refine(run: Run, position: int, above: BoxOutput, box: Box) -> BoxOutput:
    """Return a level's features and logits over a box that is `boxes.aligned`, for the next level."""
    whole: LevelOutput | None = None
    for part, where, _ in each_part(run, position, above, box):
        part = run.levels[position + 1].for_next(part) if position + 1 < len(run.levels) else part
        if whole is None:
            whole = part.map(lambda t: t.new_empty((*t.shape[:2], *shape_of(box))))
        x, y, z = (slice(*span) for span in offset(where, box))
        whole.features[:, :, x, y, z] = part.features
        whole.logits[:, :, x, y, z] = part.logits
        if whole.side is not None and part.side is not None:
            whole.side[:, :, x, y, z] = part.side
        del part  # a view of the whole tile's features
    assert whole is not None  # a box has at least one tile
    return BoxOutput(whole, box)


def _under(stage: BoxOutput, read: Box) -> LevelOutput:
    """Return the coarse output of a box of the next finer grid; beyond the coarse box its edge voxels are repeated."""

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

    return stage.output.map(cut)
