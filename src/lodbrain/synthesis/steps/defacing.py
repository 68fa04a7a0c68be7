"""Defacing: removal of the face along a plane, by which datasets are made anonymous before they are shared."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Defacing:
    """Set voxels in front of a plane to zero, except near the brain.

    Attributes
    ----------
    normal : tuple of 3 float
        Normal of the plane in head coordinates (right, front, up), pointing towards the face.
    offset_mm : float
        Distance of the plane from the brain's centre along the normal, in units of the normal's length.
    keep_mm : float
        Voxels up to this distance from the brain are never removed.

    References
    ----------
    Bischoff-Grethe et al. 2007, doi:10.1002/hbm.20312 (defacing of brain scans).
    """

    normal: tuple[float, float, float]
    offset_mm: float
    keep_mm: float = 6.0

    def kept(self, view: View) -> torch.Tensor:
        """(X, Y, Z) bool: voxels that are kept."""
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
    """Deface scans with probability `share`.

    The plane rises by 0.3 to 1.2 mm for each mm to the front; its distance along the normal is 55 to 95 mm.

    Examples
    --------
    >>> defacing = RandomDefacing(share=1).draw(Stream(1, "defacing"))
    >>> 0.3 <= -defacing.normal[2] <= 1.2, 55 <= defacing.offset_mm <= 95
    (True, True)
    """

    share: float = 0.15

    def draw(self, stream: Stream) -> Defacing | None:
        """Sample the defacing of one scan, or return None."""
        if not stream.chance(self.share):
            return None
        return Defacing((0.0, 1.0, -stream.uniform(0.3, 1.2)), stream.uniform(55.0, 95.0))
