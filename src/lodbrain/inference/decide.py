"""Decision per voxel from logits: class, certainty, soft volumes and posterior variance.

Voxels are processed in blocks of rows, so that 33 channels of a whole head are never held at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.inference.prediction import Pooling
from lodbrain.labels import N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.models.lod import LevelOutput, split_sides

#: (38,) int32: class of each of the 19 structures without sides, on the left and then on the right.
_SIDED = torch.zeros(2 * len(SIDELESS), dtype=torch.int32)
for _c, _label in enumerate(STRUCTURES):
    for _half, _other in enumerate(("right", "left")):
        if _label.side != _other:
            _SIDED[SIDELESS_OF_CLASS[_c] + _half * len(SIDELESS)] = _c
_ROWS_VOXELS = 128_000
_SLAB = 16


@dataclass(eq=False)
class Decision:
    """Labels of a box or a scan, filled part by part.

    Attributes
    ----------
    classes : (X, Y, Z) uint8
        Most probable class.
    soft_volume_vox, variance_vox : (33,) float64
        Sums over voxels of the posteriors p, and of their variances p (1 - p).
    certainty : (X, Y, Z) uint8
        Posterior of the most probable structure, sides pooled, times 255.
    posteriors : (V, X, Y, Z) float16 or None
        A volume for each class, or for each group of classes that are pooled.
    disagreement : (X, Y, Z) bool or None
        Where the members of a consensus see different tissues; None where there is one member only.
    """

    classes: NDArray[np.uint8]
    certainty: NDArray[np.uint8]
    soft_volume_vox: NDArray[np.float64] = field(default_factory=lambda: np.zeros(N_CLASSES))
    variance_vox: NDArray[np.float64] = field(default_factory=lambda: np.zeros(N_CLASSES))
    posteriors: NDArray[np.float16] | None = None
    disagreement: NDArray[np.bool_] | None = None

    @classmethod
    def empty(
        cls,
        shape: tuple[int, int, int],
        *,
        posteriors: bool,
        pooling: Pooling | None = None,
        disagreement: bool = False,
    ) -> Decision:
        """All background, on which all members agree if `disagreement` is to be kept."""
        soft = None
        if posteriors:
            soft = np.zeros((n_volumes(pooling), *shape), np.float16)
            soft[0 if pooling is None else pooling[0]] = 1
        certainty = np.full(shape, 255, np.uint8)
        differing = np.zeros(shape, bool) if disagreement else None
        return cls(np.zeros(shape, np.uint8), certainty, posteriors=soft, disagreement=differing)

    def put(self, part: Decision, start: tuple[int, int, int]) -> None:
        """Copy a part into the box that begins at `start`, and add its sums."""
        where = tuple(slice(a, a + n) for a, n in zip(start, part.classes.shape, strict=True))
        self.classes[where] = part.classes
        self.certainty[where] = part.certainty
        self.soft_volume_vox += part.soft_volume_vox
        self.variance_vox += part.variance_vox
        if self.posteriors is not None and part.posteriors is not None:
            self.posteriors[(slice(None), *where)] = part.posteriors
        if self.disagreement is not None and part.disagreement is not None:
            self.disagreement[where] = part.disagreement


def decide(output: LevelOutput, *, posteriors: bool, pooling: Pooling | None = None) -> Decision:
    """Return the decision for every voxel of a level output.

    Parameters
    ----------
    output : LevelOutput
        Logits (1, 33, X, Y, Z), or (1, 19, X, Y, Z) with the log odds of the side.
    pooling : tuple of int, optional
        The volume of the posteriors to which each class is added. Default: one volume of each class.
    """
    shape = output.logits.shape[2:]
    out = Decision.empty((shape[0], shape[1], shape[2]), posteriors=posteriors, pooling=pooling)
    rows = max(1, _ROWS_VOXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], rows):
        part = slice(start, start + rows)
        logits = output.logits[0, :, part].float()
        if output.side is None:
            best, p, soft, variance = _decide_sided(logits)
        else:
            best, p, soft, variance = _decide_sideless(logits, output.side[0, 0, part].float())
        out.classes[part] = best.to(torch.uint8).cpu().numpy()
        out.soft_volume_vox += soft.double().cpu().numpy()
        out.variance_vox += variance.double().cpu().numpy()
        out.certainty[part] = (p * 255).round_().to(torch.uint8).cpu().numpy()
        if out.posteriors is not None:
            log_p = logits.log_softmax(0)[None]
            if output.side is not None:
                log_p = split_sides(log_p, output.side[:, :, part].float())
            out.posteriors[:, part] = pooled(log_p[0].exp(), pooling).half().cpu().numpy()
    return out


def pooled(p: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
    """Return posteriors (V, X, Y, Z), summed over the classes (C, X, Y, Z) that share a volume.

    Parameters
    ----------
    pooling : tuple of int or None
        The volume of each of the C classes; None for one volume of each class.

    Examples
    --------
    >>> pooled(torch.tensor([0.2, 0.3, 0.5]).view(3, 1, 1, 1), (0, 1, 1)).flatten().tolist()
    [0.20000000298023224, 0.800000011920929]
    """
    if pooling is None:
        return p
    volume = torch.tensor(pooling, device=p.device)
    return p.new_zeros((n_volumes(pooling), *p.shape[1:])).index_add_(0, volume, p)


def repooled(
    posteriors: NDArray[np.float16], wanted: Pooling | None, kept: Pooling | None = None
) -> NDArray[np.float16]:
    """Return posteriors (W, X, Y, Z) float16 whose volumes are pooled as wanted, the same if nothing changes.

    Parameters
    ----------
    wanted, kept : tuple of int or None
        The volume of each class that is wanted, and in `posteriors`. Unless they are equal, `kept` must be None: one
        volume of each class.
    """
    if wanted == kept or wanted is None:
        return posteriors
    out = np.empty((n_volumes(wanted), *posteriors.shape[1:]), np.float16)
    for x in range(0, posteriors.shape[1], _SLAB):
        part = torch.from_numpy(posteriors[:, x : x + _SLAB]).float()
        out[:, x : x + _SLAB] = pooled(part, wanted).half().numpy()
    return out


def n_volumes(pooling: Pooling | None) -> int:
    """Return the number of volumes of the posteriors of a structure model."""
    return N_CLASSES if pooling is None else max(pooling) + 1


def best_class(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the most probable class (...) int32 of each voxel, and its posterior (...) float32.

    Positive floats have the same order as their bits read as integers. The class is written into the last six bits, so
    that one comparison finds both maximum and class: three times as fast as `max`. Posteriors that differ by less than
    a relative 2^-17 count as equal.

    Parameters
    ----------
    p : (C, ...) float32 tensor
        Posteriors, C up to 64; overwritten.
    """
    keys = p.view(torch.int32)
    number = torch.arange(len(p), dtype=torch.int32, device=p.device).view(-1, *(1 for _ in p.shape[1:]))
    keys.bitwise_and_(~63).bitwise_or_(number)
    first = torch.maximum(keys[0], keys[1])
    for key in keys[2:]:
        torch.maximum(first, key, out=first)
    return first & 63, (first & ~63).view(torch.float32)


def _decide_sided(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best class (X, Y, Z), its posterior, and the sums of p and of p (1 - p) of each class."""
    p = logits.softmax(0)
    soft, variance = p.sum((1, 2, 3)), _variance(p)
    best, value = best_class(p)
    return best, value, soft, variance


def _variance(p: torch.Tensor) -> torch.Tensor:
    """Return the sums (C,) of p (1 - p) of posteriors (C, X, Y, Z)."""
    flat = p.flatten(1)
    length: torch.Tensor = torch.linalg.vector_norm(flat, dim=1)
    return flat.sum(1) - length.square()


def _decide_sideless(
    logits: torch.Tensor, side: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the same from 19 classes and the log odds of left against right.

    The posterior variance of a class is divided between its sides in proportion to their volumes.
    """
    device = logits.device
    p = logits.softmax(0)
    left = side.sigmoid()
    on_left = p.flatten(1) @ left.flatten()
    total, variance = p.sum((1, 2, 3)), _variance(p)
    table = torch.as_tensor(SIDELESS_OF_CLASS, device=device)
    sides = torch.tensor([{"left": 0, "right": 1}.get(label.side or "", 2) for label in STRUCTURES], device=device)
    soft = torch.stack([on_left, total - on_left, total])[sides, table]
    variance = variance[table] * soft / total[table].clamp(min=1e-9)
    best, value = best_class(p)
    return look_up(_SIDED, best + (side <= 0) * len(SIDELESS)), value, soft, variance


def look_up(table: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return entries of a (N,) table at the indices in a tensor of any shape."""
    return table.to(at.device).index_select(0, at.flatten()).view(at.shape)
