"""Sampling of a head on a grid: signal, labels and distance to the brain, with true partial volume.

Each voxel is sampled several times along each axis. Signal and labels are averages over the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.intensities import N_SUBCLASSES, Contrast
from lodbrain.synthesis.label_map import CLASS_OF_CODE, DISTANCE_STEP_MM, MIRROR_OF_CODE, LabelMap
from lodbrain.synthesis.steps.lesions import Lesions

#: Number of samples that are looked up at a time: fits a processor's cache and keeps a GPU busy.
_CHUNK_POINTS = {"cpu": 2_000_000, "cuda": 64_000_000}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Averages over each voxel.

    Attributes
    ----------
    signal, spread : (X, Y, Z) float32 tensors
        Mean of the class means, and of the standard deviations within the classes.
    target : (33, X, Y, Z) float32 or (X, Y, Z) uint8 tensor, or None
        Share of each class, or the most frequent class. Ties go to the class of the voxel's centre.
    distance_mm : (X, Y, Z) float32 tensor or None
        Distance of the voxel's centre to the brain.
    """

    signal: torch.Tensor
    spread: torch.Tensor
    target: torch.Tensor | None
    distance_mm: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Body:
    """A head that can be sampled on any grid; `parts` determines the sub-class at each point."""

    labels: LabelMap
    deformation: Deformation
    lesions: Lesions | None
    contrast: Contrast
    parts: RandomField

    def on(
        self,
        grid: Grid,
        *,
        supersample: int = 2,
        target: str = "shares",
        distance: bool = True,
        kept: torch.Tensor | None = None,
    ) -> Anatomy:
        """Sample the head on a grid.

        Parameters
        ----------
        supersample : int
            Samples per voxel and axis.
        target : {"shares", "classes", "none"}
            Form of the target: shares of classes, the most frequent class, or none.
        distance : bool
            Whether to compute the distance to the brain.
        kept : (P X, P Y, P Z) bool tensor, optional
            Samples in parts of a voxel that are False count as background. `supersample` is a multiple of P.
        """
        device, n, r = self.labels.codes.device, grid.shape, supersample
        signal, spread = torch.empty(n, device=device), torch.empty(n, device=device)
        far = torch.empty(n, device=device) if distance else None
        out: torch.Tensor | None = None
        if target == "shares":
            out = torch.zeros((N_CLASSES, *n), device=device)
        elif target == "classes":
            out = torch.empty(n, dtype=torch.uint8, device=device)
        means, sds = (table.to(device).view(-1) for table in (self.contrast.means, self.contrast.sds))
        class_of_code = (CLASS_OF_CODE[MIRROR_OF_CODE] if self.deformation.flipped else CLASS_OF_CODE).to(device)
        step = max(1, _CHUNK_POINTS.get(device.type, _CHUNK_POINTS["cpu"]) // (n[1] * n[2] * r**3))
        for start in range(0, n[0], step):
            rows = slice(start, min(n[0], start + step))
            codes = self._samples(grid, r, rows)
            if kept is not None:
                codes = codes * _per_sample(kept, grid, r, rows)
            part = self.parts.on(grid, device, rows).mul_(1.5).add_(N_SUBCLASSES / 2).clamp_(0, N_SUBCLASSES - 1).int()
            mixed = _mixed(codes)
            signal[rows] = _mean_of(means, codes, part, mixed)
            spread[rows] = _mean_of(sds, codes[:: max(1, len(codes) - 1)], part, mixed)  # of two opposite corners
            if far is None and target != "classes":
                middle = codes[0]
            else:
                centre = self._index(grid, rows)
                middle = self._mark(_pick(self.labels.codes.view(-1), centre)[None], grid, rows)[0]
                if far is not None:
                    far[rows] = _pick(self.labels.distance.view(-1), centre) * DISTANCE_STEP_MM
            if out is not None and target == "shares":
                _add_shares(out[:, rows].flatten(1), codes, class_of_code, mixed)
            elif out is not None:
                out[rows] = _majority(codes, middle, class_of_code, mixed)
        return Anatomy(signal, spread, out, far)

    def _samples(self, grid: Grid, r: int, rows: slice) -> torch.Tensor:
        """Codes (r^3, X, Y, Z) uint8 of all samples of each voxel."""
        index = self._index(grid.finer(r), slice(rows.start * r, rows.stop * r))
        return self._mark(_side_by_side(_pick(self.labels.codes.view(-1), index), r), grid, rows)

    def _mark(self, codes: torch.Tensor, grid: Grid, rows: slice) -> torch.Tensor:
        return codes if self.lesions is None else self.lesions.mark(codes, grid, self.deformation, rows)

    def _index(self, grid: Grid, rows: slice) -> torch.Tensor:
        """Flat index of the map's voxel that holds each point; points outside the map fall on its background border."""
        shape, spacing = self.labels.codes.shape, self.labels.spacing_mm.tolist()
        at = self.deformation.on(grid, self.labels.codes.device, rows, unit_mm=spacing)
        x, y, z = (c.clamp_(0, n - 1).int() for c, n in zip(at, shape, strict=True))
        return x.mul_(shape[1]).add_(y).mul_(shape[2]).add_(z)


def _per_sample(kept: torch.Tensor, grid: Grid, r: int, rows: slice) -> torch.Tensor:
    """(r^3, X, Y, Z) bool: for each sample of each voxel, whether its part of the voxel is kept."""
    parts = len(kept) // grid.shape[0]
    here = kept[rows.start * parts : rows.stop * parts]
    for axis in range(3):
        here = here.repeat_interleave(r // parts, axis)
    return _side_by_side(here, r)


def _side_by_side(samples: torch.Tensor, r: int) -> torch.Tensor:
    """(r X, r Y, r Z) -> (r^3, X, Y, Z): the samples of each voxel along the first axis."""
    x, y, z = (n // r for n in samples.shape)
    return samples.view(x, r, y, r, z, r).permute(1, 3, 5, 0, 2, 4).reshape(r**3, x, y, z)


def _pick(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return table[index]; for int32 on a processor this is four times as fast."""
    return table.index_select(0, index.view(-1)).view(index.shape)


def _mixed(codes: torch.Tensor) -> torch.Tensor:
    """Flat index of the voxels whose samples (N, X, Y, Z) are not all equal, about one of ten."""
    differ = torch.zeros_like(codes[0], dtype=torch.bool)
    for sample in codes[1:]:
        differ |= sample != codes[0]
    return differ.view(-1).nonzero()[:, 0]


def _mean_of(table: torch.Tensor, codes: torch.Tensor, part: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """Mean over samples (N, X, Y, Z) of a table's values for each code and part (X, Y, Z)."""
    # Voxels of equal samples look their mean up; it is summed in the same order as the others, to round alike.
    alike = _mean([table] * len(codes))
    out = _pick(alike, codes[0].int().mul_(N_SUBCLASSES).add_(part))
    at_edge = part.view(-1)[mixed]
    samples = codes.view(len(codes), -1)[:, mixed]
    out.view(-1)[mixed] = _mean([_pick(table, each.int().mul_(N_SUBCLASSES).add_(at_edge)) for each in samples])
    return out


def _mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros_like(values[0])
    for each in values:
        total += each
    return total.div_(len(values))


def _add_shares(target: torch.Tensor, codes: torch.Tensor, class_of_code: torch.Tensor, mixed: torch.Tensor) -> None:
    """Fill a (33, voxels) target of zeros with the share of each class in samples (N, X, Y, Z)."""
    classes = _pick(class_of_code, codes[0].int()).view(1, -1)
    target.scatter_(0, classes, 1.0)
    shares = torch.zeros((len(target), len(mixed)), device=target.device)
    each = torch.full((1, len(mixed)), 1 / len(codes), device=target.device)
    for sample in codes.view(len(codes), -1)[:, mixed]:
        shares.scatter_add_(0, class_of_code[sample.int()][None], each)
    target[:, mixed] = shares


def _majority(
    codes: torch.Tensor, middle: torch.Tensor, class_of_code: torch.Tensor, mixed: torch.Tensor
) -> torch.Tensor:
    """(X, Y, Z) uint8: most frequent class of samples (N, X, Y, Z); ties go to the class of `middle`."""
    table = class_of_code.to(torch.uint8)
    out = _pick(table, codes[0].int())
    classes = [_pick(table, sample.int()) for sample in codes.view(len(codes), -1)[:, mixed]]
    centre = best = _pick(table, middle.reshape(-1)[mixed].int())
    most = torch.zeros_like(best)
    for sample in classes:
        votes = (sample == centre).to(torch.uint8)
        for other in classes:
            votes.add_(sample == other, alpha=2)
        best, most = torch.where(votes > most, sample, best), torch.maximum(votes, most)
    out.view(-1)[mixed] = best
    return out
