"""Defacing: the face is cut off along a plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Defacing:
    """Voxels beyond a plane are zero, except near the brain.

    Attributes
    ----------
    normal : tuple of 3 float
        Of the plane, in the head (right, front, up), towards the face.
    offset_mm : float
        Of the plane along the normal from the brain's centre, in units of its length.
    keep_mm : float
        Distance to the brain up to which nothing is removed.
    """

    normal: tuple[float, float, float]
    offset_mm: float
    keep_mm: float = 6.0

    def kept(self, view: View) -> torch.Tensor:
        """(X, Y, Z) bool: what is kept."""
        if view.distance_mm is None:
            raise ValueError("defacing needs the view's distance to the brain, got None")
        x, y, z = view.grid.axes_mm(view.distance_mm.device)
        # normal . (M s) = (M^T normal) . s
        a, b, c = (view.pose.matrix.T @ torch.tensor(self.normal)).tolist()
        height = a * x[:, None, None] + b * y[None, :, None] + c * z[None, None, :]
        kept: torch.Tensor = (height < self.offset_mm) | (view.distance_mm < self.keep_mm)
        return kept


@dataclass(frozen=True)
class RandomDefacing:
    """A share of the scans is defaced."""

    share: float = 0.15

    def draw(self, stream: Stream) -> Defacing | None:
        """Draw the defacing of one scan, or none."""
        if not stream.chance(self.share):
            return None
        return Defacing((0.0, 1.0, -stream.uniform(0.3, 1.2)), stream.uniform(55.0, 95.0))
