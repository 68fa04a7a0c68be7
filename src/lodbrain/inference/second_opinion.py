"""Consensus of two members: LOD-Brain's tissue posteriors at 1 mm, averaged with the ladder's on the scan's grid.

Tissue posteriors are averaged; a structure's posterior is the tissue's posterior times the ladder's posterior of the
structure given the tissue. CSF against background, and left against right, come from the ladder alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.images.intensity import from_black
from lodbrain.inference.decide import best_class
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import WorkingGrid, resample
from lodbrain.inference.tiling import Box, shape_of
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS, TISSUES
from lodbrain.models.consensus import Consensus
from lodbrain.models.lod import LevelOutput

#: Voxel side that LOD-Brain was trained at, and the deviation up to which a scan is not resampled for it.
TRAINED_MM, TOLERANCE_MM = 1.0, 0.1
#: Finest and coarsest mean voxel side (mm) of scans that LOD-Brain runs on. Posteriors of 1 mm blur the detail of finer
#: voxels: at 0.7 mm a weight of one half lowered the Dice of structures by 0.015 (`benchmarks/consensus.py`).
ASKED_MM = (0.85, 1.5)
#: Agreement of the members (mean Dice of the tissues at 2 mm) below which the second does not count, and from which on
#: it counts fully; in between its weight grows linearly. Slices of 4 mm, with an agreement of 0.75, lost 0.008 of the
#: Dice of structures to a weight of 0.4, and nothing to one of 0.13 (`benchmarks/consensus.py`).
NO_AGREEMENT, FULL_AGREEMENT = 0.7, 0.88
#: Posteriors below this are taken for it where they are divided by.
_LEAST = 1e-30
_SIDELESS_TISSUE = np.zeros(len(SIDELESS), np.int64)
_SIDELESS_TISSUE[SIDELESS_OF_CLASS] = TISSUE_OF_CLASS
_TISSUE = {len(table): torch.as_tensor(table) for table in (_SIDELESS_TISSUE, TISSUE_OF_CLASS)}


@dataclass(eq=False)
class SecondOpinion:
    """Tissue posteriors of the second member, and its agreement with the ladder.

    Attributes
    ----------
    grid : WorkingGrid
        Grid of the posteriors; its corner is that of the scan's grid.
    box : Box
        Part of the grid that the posteriors cover; all voxels outside are background.
    posteriors : (7, X, Y, Z) float16 tensor
        Posteriors over the box.
    weight : float
        Weight of these posteriors in the mean, 0 to 1.
    temperature : float
        Divisor of the logits of the mean.
    brain_vox, differing_vox : int
        Running counts: voxels that either member labels as brain, and those that the members label differently.
    """

    grid: WorkingGrid
    box: Box
    posteriors: torch.Tensor
    weight: float
    temperature: float = 1.0
    brain_vox: int = field(default=0, init=False)
    differing_vox: int = field(default=0, init=False)
    agreed: float = field(default=0.0, init=False)

    @property
    def disagreement(self) -> float:
        """Share of the brain that the members label as different tissues."""
        return self.differing_vox / max(1, self.brain_vox)

    def over(self, grid: WorkingGrid, part: Box) -> torch.Tensor:
        """Return posteriors (7, x, y, z) float32 on a part of another grid with the same corner, by interpolation."""
        if grid.shape == self.grid.shape and grid.spacing_mm == self.grid.spacing_mm:
            return self._cut(part)
        out = self.posteriors
        for axis, ((start, stop), (lo, hi)) in enumerate(zip(part, self.box, strict=True)):
            matrix = grid.matrix_from(self.grid, axis)[start:stop, lo:hi].to(out.device)
            used = matrix.any(0).nonzero().flatten()
            near = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
            moved = out.narrow(axis + 1, near.start, near.stop - near.start).float().movedim(axis + 1, -1)
            out = (moved @ matrix[:, near].T).movedim(-1, axis + 1)
        out[0] += 1 - out.sum(0)  # background beyond the box
        return out

    def mixed(self, output: LevelOutput, grid: WorkingGrid, part: Box) -> tuple[LevelOutput, torch.Tensor]:
        """A result of the ladder over a part of a grid, with the mean of both members' tissues in its logits.

        Parameters
        ----------
        output : LevelOutput
            Logits (1, 33, x, y, z), or (1, 19, x, y, z) without sides.

        Returns
        -------
        LevelOutput
        (x, y, z) bool tensor
            Where the members see different tissues.
        """
        logits = output.logits[0].float()
        table = _TISSUE[len(logits)].to(logits.device)
        theirs = self.over(grid, part).to(logits.device)
        own = tissues_of(logits)
        differing = self._compare(own, theirs)
        if not self.weight:
            return output, differing
        mean = torch.lerp(own, theirs, self.weight).clamp_(min=_LEAST)
        logits = (logits + mean.div_(own.clamp_(min=_LEAST)).log_()[table]).div_(self.temperature)
        return LevelOutput(output.features, logits[None], output.side), differing

    def agreement(self, output: LevelOutput, grid: WorkingGrid, part: Box) -> float:
        """Return the mean Dice of the six tissues between a level output and these posteriors, 0 to 1."""
        own, _ = best_class(tissues_of(output.logits[0].float()))
        theirs, _ = best_class(self.over(grid, part).to(own.device))
        own, theirs = own.flatten(), theirs.flatten()
        both = torch.bincount(own[own == theirs], minlength=len(TISSUES)).double()
        sizes = torch.bincount(own, minlength=len(TISSUES)) + torch.bincount(theirs, minlength=len(TISSUES))
        return float((2 * both / sizes.clamp(min=1))[1:].mean())

    def _cut(self, part: Box) -> torch.Tensor:
        """Return posteriors over a part of their own grid; background beyond the box."""
        spans = [(max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(part, self.box, strict=True)]
        out = self.posteriors.new_zeros((len(self.posteriors), *shape_of(part)), dtype=torch.float32)
        out[0] = 1
        if all(a < b for a, b in spans):
            to, source = (
                (slice(None), *(slice(a - o[0], b - o[0]) for (a, b), o in zip(spans, origin, strict=True)))
                for origin in (part, self.box)
            )
            out[to] = self.posteriors[source].float()
        return out

    def _compare(self, own: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Where the members see different tissues, (x, y, z) bool; it is counted."""
        (first, _), (second, _) = best_class(own.clone()), best_class(theirs.clone())
        differing = first != second
        self.brain_vox += int(((first > 0) | (second > 0)).sum())
        self.differing_vox += int(differing.sum())
        return differing


def weight_at(agreement: float, weight: float) -> tuple[float, str]:
    """Return the weight of the second member, and a note if it is lowered (else an empty string).

    The ladder was trained on strong bias fields, flat contrasts and noise; LOD-Brain was not. If the members disagree,
    LOD-Brain is assumed to be wrong.

    Examples
    --------
    >>> weight_at(0.9, 0.5)
    (0.5, '')
    >>> weight_at(0.4, 0.5)
    (0.0, 'LOD-Brain was left out: it agrees with the ladder to 0.40 only (Dice of the tissues)')
    """
    share = min(1.0, max(0.0, (agreement - NO_AGREEMENT) / (FULL_AGREEMENT - NO_AGREEMENT)))
    if share == 1:
        return weight, ""
    what = f"it agrees with the ladder to {agreement:.2f} only (Dice of the tissues)"
    if share == 0:
        return 0.0, f"LOD-Brain was left out: {what}"
    return weight * share, f"LOD-Brain's weight was lowered from {weight:g} to {weight * share:.2f}: {what}"


def is_asked(scan: WorkingGrid) -> bool:
    """Return whether LOD-Brain runs on a scan, by its mean voxel side."""
    return ASKED_MM[0] <= scan.voxel_mm <= ASKED_MM[1]


def tissues_of(logits: torch.Tensor) -> torch.Tensor:
    """Return tissue posteriors (7, ...) from logits (33, ...) or (19, ...) of the structures."""
    p = logits.softmax(0)
    return p.new_zeros((len(TISSUES), *p.shape[1:])).index_add_(0, _TISSUE[len(p)].to(p.device), p)


def second_opinion(
    network: Consensus,
    image: torch.Tensor,
    grid: WorkingGrid,
    brain: Box,
    options: Options,
) -> SecondOpinion:
    """Run the second member at 1 mm in the brain's box.

    Parameters
    ----------
    image : (X, Y, Z) float32 tensor
        Input of the ladder's finest level, not scaled.
    brain : Box
        Part of the grid that holds the brain, with a margin.
    """
    from lodbrain.inference.lod_brain_2024_volume import tissue_posteriors

    fine, box = grid_for(grid), box_for(grid, brain)
    data: NDArray[np.float32] = from_black(image.cpu().numpy())  # LOD-Brain pads with 0
    if fine is not grid:
        data = resample(data, grid, fine).numpy()
    device = torch.device(options.device)
    dtype = working_dtype(options.dtype, device)
    posteriors = tissue_posteriors(network.second, data, box, device=device, dtype=dtype)
    return SecondOpinion(fine, box, posteriors, network.weight)


def grid_for(grid: WorkingGrid) -> WorkingGrid:
    """Return the grid that LOD-Brain runs on: the ladder's if its voxels are about 1 mm, else a grid of 1 mm."""
    if all(abs(side - TRAINED_MM) <= TOLERANCE_MM for side in grid.spacing_mm):
        return grid
    x, y, z = (max(1, round(n * v / TRAINED_MM)) for n, v in zip(grid.shape, grid.spacing_mm, strict=True))
    return WorkingGrid((x, y, z), (TRAINED_MM, TRAINED_MM, TRAINED_MM), False)


def box_for(grid: WorkingGrid, brain: Box) -> Box:
    """Return a box on the grid that LOD-Brain runs on, widened to whole voxels and clipped to the grid."""
    fine = grid_for(grid)
    x, y, z = (
        (max(0, math.floor(start * own / side)), min(n, math.ceil(stop * own / side)))
        for (start, stop), own, side, n in zip(brain, grid.spacing_mm, fine.spacing_mm, fine.shape, strict=True)
    )
    return x, y, z


def second_bytes(grid: WorkingGrid, brain: Box, *, dtype: torch.dtype) -> tuple[int, int]:
    """Return the bytes that `second_opinion` takes while it runs, and that its result takes; same arguments."""
    from lodbrain.inference.lod_brain_2024_volume import peak_memory_bytes

    fine, box = grid_for(grid), box_for(grid, brain)
    voxels = math.prod(fine.shape)
    data = 4 * voxels * (1 if fine is grid else 2)  # in LIA order; resampled
    return data + peak_memory_bytes(fine.shape, dtype=dtype, box=box), 2 * len(TISSUES) * math.prod(shape_of(box))
