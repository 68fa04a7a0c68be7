"""From logits to labels: the best class, the next best, and soft volumes.

It goes row by row, so that 33 channels of a whole head are never held at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.labels import MIRROR_OF_CLASS, N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.lod import Detail, split_sides

_LEFT_OF = torch.zeros(len(SIDELESS), dtype=torch.long)
_RIGHT_OF = torch.zeros(len(SIDELESS), dtype=torch.long)
for _c, _label in enumerate(STRUCTURES):
    if _label.side != "right":
        _LEFT_OF[SIDELESS_OF_CLASS[_c]] = _c
    if _label.side != "left":
        _RIGHT_OF[SIDELESS_OF_CLASS[_c]] = _c
_MIRROR = torch.as_tensor(MIRROR_OF_CLASS)
_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0
_ROWS_VOXELS = 500_000


@dataclass(eq=False)
class Decision:
    """Labels of a box or a scan, filled part by part.

    Attributes
    ----------
    classes, second : (X, Y, Z) uint8
        Best and next best class.
    soft_volume_vox : (33,) float64
        Sum of the posteriors.
    posteriors : (33, X, Y, Z) float16 or None
    certain, brain : float
        Sum of the best posterior over voxels of the brain, and their number.
    """

    classes: NDArray[np.uint8]
    second: NDArray[np.uint8]
    soft_volume_vox: NDArray[np.float64] = field(default_factory=lambda: np.zeros(N_CLASSES))
    posteriors: NDArray[np.float16] | None = None
    certain: float = 0.0
    brain: float = 0.0

    @classmethod
    def empty(cls, shape: tuple[int, int, int], *, posteriors: bool) -> Decision:
        """All background."""
        soft = None
        if posteriors:
            soft = np.zeros((N_CLASSES, *shape), np.float16)
            soft[0] = 1
        return cls(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), posteriors=soft)

    def put(self, part: Decision, start: tuple[int, int, int]) -> None:
        """Fill a box that begins at `start`."""
        where = tuple(slice(a, a + n) for a, n in zip(start, part.classes.shape, strict=True))
        self.classes[where] = part.classes
        self.second[where] = part.second
        self.soft_volume_vox += part.soft_volume_vox
        self.certain += part.certain
        self.brain += part.brain
        if self.posteriors is not None and part.posteriors is not None:
            self.posteriors[(slice(None), *where)] = part.posteriors

    def confidence(self) -> float:
        """Mean posterior of the chosen class over the brain."""
        return self.certain / self.brain if self.brain else 0.0


def decide(detail: Detail, *, posteriors: bool) -> Decision:
    """Decide every voxel of a level's result.

    Parameters
    ----------
    detail : Detail
        Logits (1, 33, X, Y, Z), or (1, 19, X, Y, Z) with the log odds of the side.
    posteriors : bool
        Whether to return those of all classes.
    """
    shape = detail.logits.shape[2:]
    out = Decision.empty((shape[0], shape[1], shape[2]), posteriors=posteriors)
    rows = max(1, _ROWS_VOXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], rows):
        part = slice(start, start + rows)
        logits = detail.logits[0, :, part].float()
        if detail.side is None:
            best, next_best, p, soft = _decide_sided(logits)
        else:
            best, next_best, p, soft = _decide_sideless(logits, detail.side[0, 0, part].float())
        out.classes[part] = best.to(torch.uint8).cpu().numpy()
        out.second[part] = next_best.to(torch.uint8).cpu().numpy()
        out.soft_volume_vox += soft.double().cpu().numpy()
        brain = _BRAIN.to(best.device)[best]
        out.certain += float(p[brain].sum())
        out.brain += float(brain.sum())
        if out.posteriors is not None:
            log_p = logits.log_softmax(0)[None]
            if detail.side is not None:
                log_p = split_sides(log_p, detail.side[:, :, part].float())
            out.posteriors[:, part] = log_p[0].exp().half().cpu().numpy()
    return out


def _decide_sided(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Best and next best class (X, Y, Z), posterior of the best, and the sums of the posteriors (33,)."""
    p = logits.softmax(0)
    soft = p.sum((1, 2, 3))
    value, best = p.max(0)
    p.scatter_(0, best[None], -1.0)
    return best, p.argmax(0), value, soft


def _decide_sideless(
    logits: torch.Tensor, side: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same from 19 classes and the log odds of left against right."""
    device = logits.device
    p = logits.softmax(0)
    left = side.sigmoid()
    on_left = (p * left).sum((1, 2, 3))
    total = p.sum((1, 2, 3))
    table = torch.as_tensor(SIDELESS_OF_CLASS, device=device)
    sides = torch.tensor([{"left": 0, "right": 1}.get(label.side or "", 2) for label in STRUCTURES], device=device)
    soft = torch.stack([on_left, total - on_left, total])[sides, table]
    value, best = p.max(0)
    p.scatter_(0, best[None], -1.0)
    value2, next_best = p.max(0)
    to_left = side > 0
    lefts, rights = _LEFT_OF.to(device), _RIGHT_OF.to(device)
    first = torch.where(to_left, lefts[best], rights[best])
    other = torch.where(to_left, lefts[next_best], rights[next_best])
    # The next best may be the same structure on the other side.
    major = torch.maximum(left, 1 - left)
    mirrored = _MIRROR.to(device)[first]
    swap = (mirrored != first) & (
        value * (1 - major) > value2 * torch.where(_MIRROR.to(device)[other] != other, major, 1.0)
    )
    return first, torch.where(swap, mirrored, other), value, soft
