"""Collector of the finest level's tiles: decided on the scan's grid, at once or after interpolation of the logits."""

from __future__ import annotations

import torch

from lodbrain.inference.decide import Decision, decide
from lodbrain.inference.prediction import Pooling
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.second_opinion import SecondOpinion
from lodbrain.inference.tiling import Box, shape_of
from lodbrain.models.lod import LevelOutput

#: Voxels whose logits are interpolated at once.
INTERPOLATED_VOXELS = 400_000


class Sink:
    """Collector of decisions on the scan's own grid, tile by tile.

    If the working grid is not the scan's, logits are kept (float16, inside the box) and interpolated in `finish`, slab
    by slab.

    Parameters
    ----------
    scan, grid : WorkingGrid
        The scan's own grid, and the grid that the networks run on.
    box : Box
        Part of the working grid that the tiles fill; all voxels outside are background.
    second : SecondOpinion, optional
        Averaged with the ladder's posteriors on the scan's own grid.
    """

    def __init__(
        self,
        scan: WorkingGrid,
        grid: WorkingGrid,
        box: Box,
        *,
        posteriors: bool,
        pooling: Pooling | None = None,
        second: SecondOpinion | None = None,
    ) -> None:
        self.scan, self.grid, self.second = scan, grid, second
        self.posteriors, self.pooling = posteriors, pooling
        x, y, z = ((max(0, a), min(n, b)) for (a, b), n in zip(box, grid.shape, strict=True))
        self.box: Box = (x, y, z)
        self.decision = Decision.empty(
            scan.shape, posteriors=posteriors, pooling=pooling, disagreement=second is not None
        )
        self._kept: torch.Tensor | None = None
        self._sided = False

    def take(self, output: LevelOutput, core: Box) -> None:
        """Add a level output over a part of the working grid; voxels outside the box (padding, alignment) are ignored.

        Parameters
        ----------
        core : Box
            In voxels of the working grid; successive parts must not overlap.
        """
        spans = [(max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(core, self.box, strict=True)]
        if any(a >= b for a, b in spans):
            return
        cut = (slice(None), slice(None), *(slice(a - c, b - c) for (a, b), (c, _) in zip(spans, core, strict=True)))
        part = output.map(lambda t: t[cut])
        if self.grid.native:
            self._decide(part, (spans[0], spans[1], spans[2]))
            return
        joined = part.logits[0] if part.side is None else torch.cat([part.logits[0], part.side[0]])
        if self._kept is None:
            self._sided = part.side is None
            self._kept = torch.zeros((joined.shape[0], *shape_of(self.box)), dtype=torch.float16)
        where = tuple(slice(a - lo, b - lo) for (a, b), (lo, _) in zip(spans, self.box, strict=True))
        self._kept[(slice(None), *where)] = joined.half().cpu()

    def finish(self) -> Decision:
        """Return the decision over the whole scan; call it after the last tile."""
        kept, self._kept = self._kept, None
        found = None if kept is None else self.scan.inside(self.grid, self.box)
        if kept is None or found is None:
            return self.decision
        matrices, (x, y, z) = found
        rows = max(1, INTERPOLATED_VOXELS // ((y.stop - y.start) * (z.stop - z.start)))
        for start in range(0, x.stop - x.start, rows):
            weights = matrices[0][start : start + rows]
            used = weights.any(0).nonzero().flatten()
            near = slice(int(used[0]), int(used[-1]) + 1)
            slab = torch.einsum("xl,clmn->cxmn", weights[:, near], kept[:, near].float())
            slab = (torch.einsum("ym,cxmn->cxyn", matrices[1], slab) @ matrices[2].T)[None]
            output = LevelOutput(slab, slab) if self._sided else LevelOutput(slab, slab[:, :-1], slab[:, -1:])
            first = x.start + start
            self._decide(output, ((first, first + len(weights)), (y.start, y.stop), (z.start, z.stop)))
        return self.decision

    def _decide(self, output: LevelOutput, part: Box) -> None:
        """Decide a part of the scan's grid."""
        differing = None
        if self.second is not None:
            output, mask = self.second.mixed(output, self.scan, part)
            differing = mask.cpu().numpy()
        (x, _), (y, _), (z, _) = part
        decision = decide(output, posteriors=self.posteriors, pooling=self.pooling)
        decision.disagreement = differing
        self.decision.put(decision, (x, y, z))
