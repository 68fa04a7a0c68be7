"""Brain mask from the coarse levels of the ladder: log odds of brain, threshold, one solid component, and a border.

The finest level is left out, because the surface of a brain is smooth: the log odds at 2 mm, interpolated to the scan's
grid, place it between the voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.inference.boxes import boxes_around
from lodbrain.inference.brain_search import NetworkInput, locate, plan_tiles, prepare
from lodbrain.inference.counts import occupied
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.sink import INTERPOLATED_VOXELS
from lodbrain.inference.tiled_levels import BoxOutput, Run, each_part
from lodbrain.inference.tiling import Box, offset, shape_of, slices
from lodbrain.inference.workload import Work
from lodbrain.labels import CLASS_OF_INDEX, SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.models.folded import fold
from lodbrain.models.lod import Ladder, LevelOutput
from lodbrain.system.memory import give_back, sparing

#: Exponent of the finest level that runs: 2 mm.
EXPONENT = 1
#: Posterior above which a voxel belongs to the mask. Chosen on 14 synthetic heads of label maps 17 to 20 as the largest
#: at which a mask with CSF loses less than 0.5% of the brain in each: at 0.2 the mean is 0.17%, the most 0.47%.
THRESHOLD = 0.2
#: Posterior of brain alone above which a voxel of the mask with CSF belongs to that without. The largest of 0.02, 0.05,
#: 0.1 and 0.2 at which none of seven synthetic heads of label maps 17 to 20 loses more than 1% of the brain.
THRESHOLD_WITHOUT_CSF = 0.05
#: Log odds are limited to +-12: a posterior of 1 within rounding.
_LIMIT = 12.0
#: Voxels of a slab whose distances are computed at once: `distance_transform_edt` takes some 60 bytes for each.
_SLAB_VOXELS = 2_000_000

_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0
_CSF = CLASS_OF_INDEX[24]


@dataclass(frozen=True, eq=False)
class BrainOdds:
    """Log odds of brain on the grid of a coarse level.

    Attributes
    ----------
    odds : (2, x, y, z) float32 tensor
        Log odds of brain tissue or ventricle, and of these or CSF, in `box`; they are minus infinity outside of it.
    box : Box
        In voxels of `grid`.
    scan, grid : WorkingGrid
        The scan's own grid, and that of the level, with the same corner.
    notes : tuple of str
        Deviations from the standard processing, and their reasons.
    peak_bytes : int or None
        Planned peak memory of the process; None on a GPU.
    """

    odds: torch.Tensor
    box: Box
    scan: WorkingGrid
    grid: WorkingGrid
    notes: tuple[str, ...] = ()
    peak_bytes: int | None = None

    def mask(self, *, csf: bool = True) -> NDArray[np.bool_]:
        """Return the voxels (X, Y, Z) of a mask, with or without CSF, before its largest component is taken.

        The threshold of brain alone is so low that it is applied within the mask with CSF only.
        """
        out = self.above(THRESHOLD, csf=True)
        if not csf:
            out &= self.above(THRESHOLD_WITHOUT_CSF, csf=False)
        return out

    def above(self, threshold: float = THRESHOLD, *, csf: bool = True) -> NDArray[np.bool_]:
        """Return where (X, Y, Z) the posterior on the scan's grid is above a threshold, with or without CSF.

        Log odds are interpolated, not posteriors, because they change nearly linearly across a surface.
        """
        odds, least = self.odds[int(csf)], math.log(threshold / (1 - threshold))
        out = np.zeros(self.scan.shape, bool)
        a, b, c = ((max(0, start), min(n, stop)) for (start, stop), n in zip(self.box, self.grid.shape, strict=True))
        box: Box = (a, b, c)  # without padding and alignment
        found = self.scan.inside(self.grid, box)
        if found is None:
            return out
        matrices, (x, y, z) = found
        odds = odds[slices(offset(box, self.box))]
        rows = max(1, INTERPOLATED_VOXELS // ((y.stop - y.start) * (z.stop - z.start)))
        for first in range(0, x.stop - x.start, rows):
            weights = matrices[0][first : first + rows]
            slab = torch.einsum("ym,xmn->xyn", matrices[1], torch.tensordot(weights, odds, dims=1)) @ matrices[2].T
            out[x.start + first : x.start + first + len(weights), y, z] = (slab > least).numpy()
        return out


@torch.inference_mode()
def brain_odds(given: NetworkInput, *, network: Ladder, options: Options | None = None) -> BrainOdds:
    """Return the log odds of brain in a scan, from the levels down to 2 mm.

    The image of each level is the same as when all levels run, so the posteriors are those that the finest level would
    be conditioned on.

    Raises
    ------
    InputError
        ``"no-brain"`` if no brain is found; ``"memory"`` if the memory is too small.
    """
    options = options or Options()
    device = torch.device(options.device)
    scan, grid, notes = given.scan, given.grid, list(given.notes)
    dtype = working_dtype(options.dtype, device)
    work = mask_work(network, scan, grid, dtype=dtype)
    plan_tiles(work, options)  # raises before any processing if the memory is not enough
    last = len(work.levels) - 1
    run = prepare(given, fold(network.to(device), dtype, last=last), options, unused=work.unused)
    run, stage, box, _, note = locate(run)
    notes += [note] if note else []
    plan = plan_tiles(work, options, box)
    run = replace(run, tile_voxels=plan.tile_voxels)
    with sparing(wanted=plan.spare):
        odds, box = _last_level(run, stage, boxes_around(box, run.levels, work.shapes, run.voxels_mm))
    x, y, z = (2.0**work.unused * v for v in grid.spacing_mm)
    level_grid = WorkingGrid(work.shapes[last], (x, y, z), grid.native and not work.unused)
    peak_bytes = options.base_bytes + plan.peak_bytes if device.type == "cpu" else None
    del run, stage
    give_back()
    return BrainOdds(odds, box, scan, level_grid, tuple(notes), peak_bytes)


def mask_work(network: Ladder, scan: WorkingGrid, grid: WorkingGrid, *, dtype: torch.dtype) -> Work:
    """Return the work of `brain_odds`, for its memory plan."""
    work = Work.of(network, scan, grid, dtype=dtype, posteriors=False)
    return work.for_mask(max(0, network.configs[0].exponent - EXPONENT))


def _last_level(run: Run, stage: BoxOutput, boxes: list[Box]) -> tuple[torch.Tensor, Box]:
    """Return the log odds of the last of one or two levels, and the box that they cover.

    They are computed part by part, because the logits of all classes take 16 times as much memory.
    """
    if len(run.levels) == 1:
        return _odds(stage.output), stage.box
    box = boxes[1]
    odds = torch.empty((2, *shape_of(box)))
    for output, part, _ in each_part(run, 1, stage, box):
        odds[(slice(None), *slices(offset(part, box)))] = _odds(output)
        del output  # a view of the whole tile's features
    return odds, box


def _odds(output: LevelOutput) -> torch.Tensor:
    """Return the log odds (2, X, Y, Z) of brain, and of brain or CSF, of a level output of one scan."""
    logits = output.logits[0].float()
    brain = _BRAIN.clone()
    with_csf = _BRAIN.clone()
    with_csf[_CSF] = True
    odds = []
    for inside in (brain, with_csf):
        if len(logits) == len(SIDELESS):
            classes = torch.zeros(len(SIDELESS), dtype=torch.bool)
            classes[torch.as_tensor(SIDELESS_OF_CLASS)[inside]] = True
            inside = classes
        inside = inside.to(logits.device)
        odds.append(logits[inside].logsumexp(0) - logits[~inside].logsumexp(0))
    return torch.stack(odds).clamp_(-_LIMIT, _LIMIT).cpu()


def solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest component of a mask (X, Y, Z), connected through faces, without holes.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[1:6, 1:6, 1:6] = mask[8, 8, 8] = True
    >>> mask[3, 3, 3] = False
    >>> int(solid(mask).sum())
    125
    """
    out = np.zeros(mask.shape, bool)
    box = occupied(mask)
    if not mask[box].size:
        return out
    inside = np.pad(cc3d.largest_k(mask[box], k=1, connectivity=6).astype(bool), 1)  # a margin that joins the outside
    components = cc3d.connected_components(~inside, connectivity=6, out_dtype=np.uint32)
    out[box] = (components != components[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return out


def moved(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], border_mm: float) -> NDArray[np.bool_]:
    """Return a mask (X, Y, Z) whose surface is moved outwards, or below 0 inwards, by a distance.

    Above 0, voxels are added whose centre is no further than this from the centre of a voxel of the mask; below 0,
    voxels are removed that are as near to a voxel outside of it. Voxels beyond the edge of the volume count as neither.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[4, 4, 4] = True
    >>> int(moved(mask, (1.0, 1.0, 2.0), 1.0).sum()), int(moved(mask, (1.0, 1.0, 2.0), 2.0).sum())
    (5, 15)
    """
    box = occupied(mask)
    if border_mm == 0 or not mask[box].size:
        return mask
    from scipy.ndimage import distance_transform_edt  # slow to import, and needed for a border only

    reach = [math.ceil(abs(border_mm) / side) + 1 for side in spacing_mm]
    x, y, z = (
        slice(max(0, part.start - margin), min(n, part.stop + margin))
        for part, margin, n in zip(box, reach, mask.shape, strict=True)
    )
    out = np.zeros(mask.shape, bool)
    rows = max(1, _SLAB_VOXELS // ((y.stop - y.start) * (z.stop - z.start)))
    for first in range(x.start, x.stop, rows):
        # A distance up to the border depends on no voxel further away than that: slabs give what the whole would.
        core = slice(first, min(first + rows, x.stop))
        read = slice(max(0, core.start - reach[0]), min(mask.shape[0], core.stop + reach[0]))
        seen = mask[read, y, z]
        if border_mm > 0:
            kept = distance_transform_edt(~seen, sampling=spacing_mm) <= border_mm if seen.any() else seen
        else:
            kept = distance_transform_edt(seen, sampling=spacing_mm) > -border_mm if not seen.all() else seen
        out[core, y, z] = kept[core.start - read.start : core.stop - read.start]
    return out
