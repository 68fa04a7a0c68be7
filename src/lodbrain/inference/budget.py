"""Memory plan of a scan: bytes of each stage, and tiles that fit a budget.

Every term is the size of an array that the code allocates: voxels times bytes. Only `LIBRARIES` is measured. Before the
run the brain's box is unknown, and the plan assumes `LARGEST_BRAIN_MM`; tiles and peak are recomputed with the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from lodbrain.errors import InputError
from lodbrain.inference.boxes import alignment, boxes_around, halo
from lodbrain.inference.pyramid import RESAMPLED_VOXELS
from lodbrain.inference.second_opinion import second_bytes
from lodbrain.inference.sink import INTERPOLATED_VOXELS
from lodbrain.inference.tiled_levels import SCORED_VOXELS
from lodbrain.inference.tiling import Box, shape_of, tiles
from lodbrain.inference.workload import LevelSize, Work

#: Largest size of one tile: larger ones are no faster.
MOST_TILE_BYTES = 850_000_000
#: Measured: code and tables that the libraries load with the first scan, and half-used pages of the heap.
LIBRARIES = 60 << 20
#: Copies of a slab's logits that exist at once: as float32, softmax, order and sums (`levels`, `decide`); as float32
#: and interpolated along each axis in turn (`sink`).
_SCORED_COPIES, _SLAB_COPIES = 5, 4
#: Factor between the memory that the error message asks for and the estimate: processes differ by some library pages.
_ROUNDED_UP = 1.02


@dataclass(frozen=True)
class MemoryPlan:
    """Tile sizes of the levels, and the memory of each stage with them.

    Attributes
    ----------
    tile_voxels : tuple of int
        Largest number of voxels that a tile of each level may read, coarsest level first; the coarsest is never cut.
    stages : dict of str to int
        Bytes in use at each stage, beyond what the process used before.
    spare : bool
        Whether to run `memory.sparing`, since the tiles are smaller than they could be.
    second : bool
        Whether there is room for the second opinion that was asked for.
    """

    tile_voxels: tuple[int, ...]
    stages: dict[str, int]
    spare: bool = False
    second: bool = False

    @property
    def peak_bytes(self) -> int:
        """Bytes of the largest stage, plus what the libraries load."""
        return max(self.stages.values()) + LIBRARIES


def make_plan(
    work: Work,
    *,
    room: float,
    brain: Box | None = None,
    tile_voxels: int | None = None,
    tile_bytes: float = MOST_TILE_BYTES,
) -> MemoryPlan:
    """Return a plan with the largest tiles that fit, or with the smallest possible tiles if none do.

    Parameters
    ----------
    room : float
        Bytes that may be used at the peak, beyond what the process used before; infinite for no limit.
    brain : Box, optional
        On the coarsest grid; default: `Work.largest_brain`.
    tile_voxels : int, optional
        Largest number of voxels that a tile reads; chosen from `room` by default.
    tile_bytes : float
        Upper limit of one tile's memory, also where `room` is larger.
    """
    plan = _plan(work, math.inf, brain, tile_voxels, tile_bytes, spare=False)
    return plan if plan.peak_bytes <= room else _plan(work, room, brain, tile_voxels, tile_bytes, spare=True)


def _plan(
    work: Work, room: float, brain: Box | None, tile_voxels: int | None, tile_bytes: float, *, spare: bool
) -> MemoryPlan:
    brain = work.largest_brain if brain is None else brain
    boxes = boxes_around(brain, work.levels, work.shapes, work.voxels_mm)
    last, finest = len(work.levels) - 1, work.levels[-1]
    scan, grid = math.prod(work.scan.shape), math.prod(work.grid.shape)
    stages = {"reading": scan * max(4, work.stored_bytes)}
    # Reordering to RAS copies the array. A scan is resampled in slabs, of which four copies exist at once.
    stages["preparing"] = 8 * scan if work.grid.native else 4 * scan + 8 * grid + 16 * RESAMPLED_VOXELS

    images = 4 * sum(map(math.prod, work.shapes))
    # A class and a certainty a voxel, whether members disagree, float16 posteriors; logits of the box, where they are
    # interpolated later.
    decisions = scan * (2 + work.second + 2 * work.posteriors)
    kept = 0 if work.grid.native else 2 * finest.logits * _voxels(boxes[-1])
    interpolated = finest.logits
    if work.mask_only:  # float32 log odds, with and without CSF; one of them is interpolated
        kept, interpolated = 4 * 2 * _voxels(boxes[-1]), 1
    # The coarsest level: logits, their softmax and that of the brain's classes; a sideless copy for the next level.
    coarsest = work.levels[0]
    head = math.prod(-(-n // coarsest.stride) * coarsest.stride for n in work.shapes[0])
    stages["level 1"] = images + int(head * max(coarsest.tile_bytes, coarsest.result_bytes(3 * coarsest.logits)))
    above, chosen = head * coarsest.result_bytes(2 * coarsest.logits), [0]
    if last == 0:
        stages["level 1"] += decisions + kept
    opinion = 0
    for p, level in enumerate(work.levels[1:], 1):
        result = decisions + kept
        if p == last and work.second:
            running, opinion = second_bytes(work.grid, boxes[last], dtype=_dtype(finest))
            stages["second opinion"] = images + above + running + opinion
        if p < last:
            result = _voxels(boxes[p]) * level.result_bytes(min(level.logits, work.levels[p + 1].logits))
        held = images + above + result + opinion + _SCORED_COPIES * 4 * SCORED_VOXELS * level.logits
        chosen.append(tile_voxels or _tile_voxels(level, boxes[p], min(room - LIBRARIES - held, tile_bytes)))
        voxel_bytes = level.tile_bytes + (0 if spare else level.hole_bytes)
        stages[f"level {p + 1}"] = held + int(voxel_bytes * _most_read(level, boxes[p], chosen[p]))
        above = result

    decided = decisions + 4 * grid  # the finest image is kept to the end
    if kept:
        stages["interpolating"] = decided + kept + opinion + _SLAB_COPIES * 4 * INTERPOLATED_VOXELS * interpolated
    # Connected components: a copy of the box, and component numbers of four bytes.
    share = math.prod(v / w for v, w in zip(work.grid.spacing_mm, work.scan.spacing_mm, strict=True))
    stages["tidying up"] = decided + int(5 * share * 8 ** (last + work.unused) * _voxels(brain))
    stages["writing"] = decisions + scan
    return MemoryPlan(tuple(chosen), stages, spare, work.second)


def check(
    work: Work, *, allowed_bytes: int, base_bytes: int, path: Path | None = None, brain: Box | None = None
) -> MemoryPlan:
    """A plan that keeps the process within its budget, without the second opinion if only that leaves enough.

    Parameters
    ----------
    allowed_bytes : int
        Memory that the process may use at its peak.
    base_bytes : int
        Memory that it used before the scan was read.

    Raises
    ------
    InputError
        ``"memory"`` if not even the smallest tiles fit.
    """
    plan = make_plan(work, room=allowed_bytes - base_bytes, brain=brain)
    if base_bytes + plan.peak_bytes > allowed_bytes and work.second:  # LOD-Brain's part cannot be tiled
        alone = replace(work, second=False)
        return check(alone, allowed_bytes=allowed_bytes, base_bytes=base_bytes, path=path, brain=brain)
    if base_bytes + plan.peak_bytes > allowed_bytes:
        refuse(base_bytes + plan.peak_bytes, allowed_bytes, path)
    return plan


def refuse(needed_bytes: int, allowed_bytes: int, path: Path | None) -> NoReturn:
    """Raise InputError ``"memory"``, which states the memory needed."""
    needed = amount(_ROUNDED_UP * needed_bytes)
    what = f"it needs at least {needed} of memory, {amount(allowed_bytes)} are allowed or free"
    raise InputError("memory", path, what, f"Give --memory {needed} or more, on a machine that has it")


def amount(n_bytes: float) -> str:
    """Return a number of bytes as text that `memory.parse_memory` reads, rounded up.

    Examples
    --------
    >>> amount(1_234_000_000), amount(801_000_000)
    ('1.24GB', '801MB')
    """
    return f"{math.ceil(n_bytes / 1e7) / 100:.2f}GB" if n_bytes > 999e6 else f"{math.ceil(n_bytes / 1e6)}MB"


def _tile_voxels(level: LevelSize, box: Box, room: float) -> int:
    """Return how many voxels a tile of a level may read: as many as fit in `room`, at least four halos a side."""
    least = math.prod(min(n, 4 * halo(level)) for n in shape_of(box))
    return max(least, int(room / level.tile_bytes))


def _most_read(level: LevelSize, box: Box, most_voxels: int) -> int:
    """Return how many voxels the largest tile of a box reads."""
    cut = tiles(box, halo=halo(level), align=alignment(level), most_voxels=most_voxels)
    return max(_voxels(tile.read) for tile in cut)


def _dtype(level: LevelSize) -> torch.dtype:
    return torch.float32 if level.itemsize == torch.float32.itemsize else torch.bfloat16


def _voxels(box: Box) -> int:
    return math.prod(shape_of(box))
