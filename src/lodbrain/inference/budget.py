"""What one scan takes at its peak, stage by stage, and the tiles that keep it within a budget.

Every term is an array that the code makes: voxels times bytes. Only `LIBRARIES` is measured. The brain's box is not
known before the run: what is promised then is for `LARGEST_BRAIN_MM`. With the box, tiles and peak are computed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from lodbrain.errors import InputError
from lodbrain.inference.boxes import alignment, boxes_around, halo
from lodbrain.inference.consensus import second_bytes
from lodbrain.inference.levels import SCORED_VOXELS
from lodbrain.inference.pyramid import RESAMPLED_VOXELS, WorkingGrid
from lodbrain.inference.sink import INTERPOLATED_VOXELS
from lodbrain.inference.tiling import Box, shape_of, tiles
from lodbrain.labels import N_CLASSES, SIDELESS
from lodbrain.models.lod import Ladder

#: Box of the largest brain that a scan is accepted for before it is looked at, in RAS order: brains of adults are up to
#: 190 mm long and 160 mm wide; a tilted head needs some more.
LARGEST_BRAIN_MM = (170.0, 200.0, 180.0)
#: One tile takes no more: larger ones are no faster.
MOST_TILE_BYTES = 850_000_000
#: Code and tables that the libraries load with the first scan, and a heap's last, half-used pages: measured.
LIBRARIES = 60 << 20
#: A slab's logits with what is made of them at once: their float, softmax, order and sums (`levels`, `decide`);
#: float32, and interpolated along each axis in turn (`sink`).
_SCORED_COPIES, _SLAB_COPIES = 5, 4
#: What is asked for is this much more than what is needed: processes differ by some pages of the libraries.
_ROUNDED_UP = 1.02


@dataclass(frozen=True)
class LevelSize:
    """What the memory of a level depends on.

    Attributes
    ----------
    channels : int
        At its own resolution.
    logits : int
        Numbers that it scores a voxel with.
    radius, stride : int
        As of `models.lod.Level`.
    itemsize : int
        Bytes of a number in its convolutions.
    block : int
        As of `models.lod.LevelConfig`.
    """

    channels: int
    logits: int
    radius: int
    stride: int
    itemsize: int
    block: int = 1

    @property
    def tile_bytes(self) -> float:
        """A voxel of a tile at its peak: a residual block's input, inner and outer tensor; the image, and scaled."""
        return 3 * self.hole_bytes + 16

    @property
    def hole_bytes(self) -> float:
        """A voxel's share of the heap's holes, where freed memory is kept: one tensor (measured: 0.5 to 0.9 of one)."""
        return self.channels * self.itemsize / self.block**3

    def result_bytes(self, logits: int) -> int:
        """A voxel of a result: features, and float32 logits."""
        return self.channels * self.itemsize + 4 * logits


@dataclass(frozen=True)
class Work:
    """A scan, and what is to be done with it.

    Attributes
    ----------
    scan, grid : WorkingGrid
        Its own grid, and the one that the networks run on.
    levels : tuple of LevelSize
        Those that it uses, coarsest first.
    stored_bytes : int
        Of a voxel in the file.
    posteriors : bool
    second : bool
        Whether a second opinion on the tissues is asked for (`inference.consensus`).
    """

    scan: WorkingGrid
    grid: WorkingGrid
    levels: tuple[LevelSize, ...]
    stored_bytes: int = 4
    posteriors: bool = False
    second: bool = False

    @classmethod
    def of(
        cls,
        ladder: Ladder,
        scan: WorkingGrid,
        grid: WorkingGrid,
        *,
        dtype: torch.dtype,
        posteriors: bool,
        second: bool = False,
    ) -> Work:
        """What a ladder has to do that computes in `dtype`, but for its coarsest level, which does in float32."""
        levels = []
        for p in range(ladder.level_for(grid.voxel_mm) + 1):
            level = ladder.level(p)
            logits = N_CLASSES if level.config.sided else len(SIDELESS) + 1
            itemsize = dtype.itemsize if p else torch.float32.itemsize
            config = level.config
            levels.append(LevelSize(config.channels[0], logits, level.radius, level.stride, itemsize, config.block))
        return cls(scan, grid, tuple(levels), posteriors=posteriors, second=second and len(levels) > 1)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Of the levels' images, coarsest first."""
        shapes = [self.grid.shape]
        for _ in self.levels[1:]:
            x, y, z = (-(-n // 2) for n in shapes[0])
            shapes.insert(0, (x, y, z))
        return shapes

    @property
    def voxels_mm(self) -> list[float]:
        """Their voxel sides."""
        last = len(self.levels) - 1
        return [self.grid.voxel_mm * 2.0 ** (last - p) for p in range(last + 1)]

    @property
    def largest_brain(self) -> Box:
        """The box, on the coarsest grid, of `LARGEST_BRAIN_MM` in the middle of the scan."""
        shape, voxel_mm = self.shapes[0], self.voxels_mm[0]
        sides = [min(n, math.ceil(mm / voxel_mm)) for n, mm in zip(shape, LARGEST_BRAIN_MM, strict=True)]
        x, y, z = (((n - side) // 2, (n - side) // 2 + side) for n, side in zip(shape, sides, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Plan:
    """Tiles that keep a scan within its budget, if any can.

    Attributes
    ----------
    tile_voxels : tuple of int
        That a tile of each level may read, coarsest level first; the coarsest is never cut.
    stages : dict of str to int
        Bytes in use at each stage, beyond what the process took before.
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
        """The largest of the stages, and what the libraries load."""
        return max(self.stages.values()) + LIBRARIES


def make_plan(
    work: Work,
    *,
    room: float,
    brain: Box | None = None,
    tile_voxels: int | None = None,
    tile_bytes: float = MOST_TILE_BYTES,
) -> Plan:
    """The largest tiles that fit, or the smallest ones where none do.

    Parameters
    ----------
    work : Work
    room : float
        Bytes that may be used at the peak, beyond what the process took before; infinite for no limit.
    brain : Box, optional
        On the coarsest grid; default: `Work.largest_brain`.
    tile_voxels : int, optional
        Largest number of voxels that a tile reads, in place of a choice.
    tile_bytes : float
        What one tile may take, however much there is.
    """
    plan = _plan(work, math.inf, brain, tile_voxels, tile_bytes, spare=False)
    return plan if plan.peak_bytes <= room else _plan(work, room, brain, tile_voxels, tile_bytes, spare=True)


def _plan(
    work: Work, room: float, brain: Box | None, tile_voxels: int | None, tile_bytes: float, *, spare: bool
) -> Plan:
    brain = work.largest_brain if brain is None else brain
    boxes = boxes_around(brain, work.levels, work.shapes, work.voxels_mm)
    last, finest = len(work.levels) - 1, work.levels[-1]
    scan, grid = math.prod(work.scan.shape), math.prod(work.grid.shape)
    stages = {"reading": scan * max(4, work.stored_bytes)}
    # RAS order is a copy. A resampled scan is taken in slabs, which exist four times on their way.
    stages["preparing"] = 8 * scan if work.grid.native else 4 * scan + 8 * grid + 16 * RESAMPLED_VOXELS

    images = 4 * sum(map(math.prod, work.shapes))
    # A class and a certainty a voxel, whether members disagree, float16 posteriors; logits of the box, where they are
    # interpolated later.
    decisions = scan * (2 + work.second + (2 * N_CLASSES if work.posteriors else 0))
    kept = 0 if work.grid.native else 2 * finest.logits * _voxels(boxes[-1])
    # The coarsest level: logits, their softmax and that of the brain's classes; once more without sides for the next.
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

    if kept:
        stages["interpolating"] = decisions + kept + opinion + _SLAB_COPIES * 4 * INTERPOLATED_VOXELS * finest.logits
    # Connected components: the box once more, numbered in four bytes.
    share = math.prod(v / w for v, w in zip(work.grid.spacing_mm, work.scan.spacing_mm, strict=True))
    stages["tidying up"] = decisions + int(5 * share * 8**last * _voxels(brain))
    stages["writing"] = decisions + scan
    return Plan(tuple(chosen), stages, spare, work.second)


def check(
    work: Work, *, allowed_bytes: int, base_bytes: int, path: Path | None = None, brain: Box | None = None
) -> Plan:
    """A plan that keeps the process within its budget, without the second opinion if only that leaves enough.

    Parameters
    ----------
    work : Work
    allowed_bytes : int
        What the process may take at its peak.
    base_bytes : int
        What it took before the scan was read.
    path : Path, optional
        For the message.
    brain : Box, optional
        As for `make_plan`.

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
    """Raise the one line that says what is needed.

    Raises
    ------
    InputError
        ``"memory"``.
    """
    needed = amount(_ROUNDED_UP * needed_bytes)
    what = f"it needs at least {needed} of memory, {amount(allowed_bytes)} are allowed or free"
    raise InputError("memory", path, what, f"Give --memory {needed} or more, on a machine that has it")


def amount(n_bytes: float) -> str:
    """Bytes as `memory.parse_memory` reads them, rounded up.

    Examples
    --------
    >>> amount(1_234_000_000), amount(801_000_000)
    ('1.24GB', '801MB')
    """
    return f"{math.ceil(n_bytes / 1e7) / 100:.2f}GB" if n_bytes > 999e6 else f"{math.ceil(n_bytes / 1e6)}MB"


def _tile_voxels(level: LevelSize, box: Box, room: float) -> int:
    """What a tile of a level may read: what there is room for, and no less than four halos a side."""
    least = math.prod(min(n, 4 * halo(level)) for n in shape_of(box))
    return max(least, int(room / level.tile_bytes))


def _most_read(level: LevelSize, box: Box, most_voxels: int) -> int:
    """Voxels that the largest tile of a box reads."""
    cut = tiles(box, halo=halo(level), align=alignment(level), most_voxels=most_voxels)
    return max(_voxels(tile.read) for tile in cut)


def _dtype(level: LevelSize) -> torch.dtype:
    return torch.float32 if level.itemsize == torch.float32.itemsize else torch.bfloat16


def _voxels(box: Box) -> int:
    return math.prod(shape_of(box))
