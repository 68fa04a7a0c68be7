"""What lies in each voxel of a scan: signal, labels and distance to the brain, with true partial volume.

Voxels are sampled several times along each axis. Signal and labels are averages of what the samples hit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.contrast import N_SUBCLASSES, Contrast
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.labelmaps import CLASS_OF_CODE, DISTANCE_STEP_MM, MIRROR_OF_CODE, LabelMap
from lodbrain.synthesis.steps.lesions import Lesions

#: Samples that are looked up at a time: few enough for the processor's cache, many enough for a GPU.
_CHUNK_POINTS = {"cpu": 2_000_000, "cuda": 64_000_000}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Averages over each voxel.

    Attributes
    ----------
    signal, spread : (X, Y, Z) float32 tensors
        Mean of the class means, and of the standard deviations within the classes.
    target : (33, X, Y, Z) float32 or (X, Y, Z) uint8 tensor, or None
        Share of each class, or the class that has the largest. Where two are equal, that of the voxel's centre.
    distance_mm : (X, Y, Z) float32 tensor or None
        Of the voxel's centre to the brain.
    """

    signal: torch.Tensor
    spread: torch.Tensor
    target: torch.Tensor | None
    distance_mm: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Body:
    """A head that can be looked at on any grid.

    Attributes
    ----------
    labels : LabelMap
    deformation : Deformation
    lesions : Lesions or None
    contrast : Contrast
    parts : RandomField
        Says which sub-class a place belongs to.
    """

    labels: LabelMap
    deformation: Deformation
    lesions: Lesions | None
    contrast: Contrast
    parts: RandomField

    def on(self, grid: Grid, *, supersample: int = 2, target: str = "shares", distance: bool = True) -> Anatomy:
        """Sample the head.

        Parameters
        ----------
        grid : Grid
        supersample : int
            Samples per voxel and axis.
        target : {"shares", "classes", "none"}
            What is made of the labels.
        distance : bool
            Whether the distance to the brain is needed.
        """
        device, n, r = self.labels.codes.device, grid.shape, supersample
        signal, spread = torch.empty(n, device=device), torch.empty(n, device=device)
        far = torch.empty(n, device=device) if distance else None
        out: torch.Tensor | None = None
        if target == "shares":
            out = torch.zeros((N_CLASSES, *n), device=device)
        elif target == "classes":
            out = torch.empty(n, dtype=torch.uint8, device=device)
        looks = torch.stack([self.contrast.means, self.contrast.sds]).view(2, -1).to(device)
        class_of_code = (CLASS_OF_CODE[MIRROR_OF_CODE] if self.deformation.flipped else CLASS_OF_CODE).to(device)
        if target == "classes":
            class_of_code = class_of_code.to(torch.uint8)
        step = max(1, _CHUNK_POINTS.get(device.type, _CHUNK_POINTS["cpu"]) // (n[1] * n[2] * r**3))
        for start in range(0, n[0], step):
            rows = slice(start, min(n[0], start + step))
            codes = self._samples(grid, r, rows)
            part = self.parts.on(grid, device, rows).mul_(1.5).add_(N_SUBCLASSES / 2).clamp_(0, N_SUBCLASSES - 1)
            look = codes * N_SUBCLASSES + part.int()
            torch.mean(looks[0][look], 0, out=signal[rows])
            torch.mean(looks[1][look], 0, out=spread[rows])
            centre = self._index(self.deformation.on(grid, device, rows)) if distance or target == "classes" else None
            if far is not None and centre is not None:
                far[rows] = self.labels.distance.view(-1)[centre] * DISTANCE_STEP_MM
            if out is None:
                continue
            if target == "shares":
                _add_shares(out[:, rows], class_of_code[codes], 1 / r**3)
            elif centre is not None:
                middle = self._mark(self.labels.codes.view(-1)[centre].int()[None], grid, rows)
                out[rows] = _majority(class_of_code[codes], class_of_code[middle[0]])
        return Anatomy(signal, spread, out, far)

    def _samples(self, grid: Grid, r: int, rows: slice) -> torch.Tensor:
        """Codes (r^3, X, Y, Z) int32 of all samples of each voxel."""
        fine = slice(rows.start * r, rows.stop * r)
        index = self._index(self.deformation.on(grid.finer(r), self.labels.codes.device, fine))
        codes = self.labels.codes.view(-1)[index]
        _, ny, nz = grid.shape
        # (X, r, Y, r, Z, r) -> (r^3, X, Y, Z): the samples of one voxel side by side
        codes = codes.view(-1, r, ny, r, nz, r).permute(1, 3, 5, 0, 2, 4).reshape(r**3, -1, ny, nz)
        return self._mark(codes.int(), grid, rows)

    def _mark(self, codes: torch.Tensor, grid: Grid, rows: slice) -> torch.Tensor:
        return codes if self.lesions is None else self.lesions.mark(codes, grid, self.deformation, rows)

    def _index(self, at_mm: list[torch.Tensor]) -> torch.Tensor:
        """Flat index of the map's voxel that holds each point; the border of the map is background."""
        shape, spacing = self.labels.codes.shape, self.labels.spacing_mm.tolist()
        x, y, z = (c.div_(v).clamp_(0, n - 1).int() for c, v, n in zip(at_mm, spacing, shape, strict=True))
        return (x * shape[1] + y) * shape[2] + z


def _add_shares(target: torch.Tensor, classes: torch.Tensor, share: float) -> None:
    """Add to the (33, X, Y, Z) target a share for each sample (N, X, Y, Z) of a class."""
    flat = torch.zeros((target.shape[0], classes[0].numel()), device=target.device)
    each = torch.full((1,), share, device=target.device).expand(1, classes[0].numel())
    for sample in classes.reshape(len(classes), 1, -1):
        flat.scatter_add_(0, sample, each)
    target.copy_(flat.view(target.shape))


def _majority(classes: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) uint8: the most frequent of samples (N, X, Y, Z); `middle` where two are as frequent."""
    out = middle.clone().view(-1)
    mixed = (classes != middle).any(0).view(-1).nonzero()[:, 0]  # one voxel of ten
    samples = classes.view(len(classes), -1)[:, mixed].long()
    votes = torch.zeros((N_CLASSES, len(mixed)), dtype=torch.uint8, device=out.device)
    two = torch.full_like(votes[:1], 2)
    for sample in samples:
        votes.scatter_add_(0, sample[None], two)
    votes.scatter_add_(0, out[mixed].long()[None], two // 2)
    out[mixed] = votes.argmax(0).to(out.dtype)
    return out.view(middle.shape)
