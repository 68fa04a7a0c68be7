"""Thick slices: voxels that are longer along one axis, brought back to the scan's grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

#: Slices up to so many voxels thick are voxels.
_THIN = 1.2


@dataclass(frozen=True)
class Slices:
    """Slices of `thickness_mm` along `axis`, averaged and interpolated again."""

    axis: int
    thickness_mm: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image as such slices show it."""
        ratio = self.thickness_mm / view.grid.spacing_mm[self.axis] * view.coarseness
        if ratio <= _THIN:
            return image
        weights = _slab_weights(image.shape[self.axis - 3], ratio, view.coarseness).to(image.device)
        return (image.movedim(self.axis - 3, -1) @ weights).movedim(-1, self.axis - 3).contiguous()


def _slab_weights(n: int, ratio: float, coarseness: int) -> torch.Tensor:
    """(n, n) float32: share of each voxel of an axis (rows) in each voxel after slicing (columns).

    Computed in voxels of the scan, of which `ratio` are as thick as a slice: `coarseness` of them are a voxel of the
    image, and have its value before and its mean after.
    """
    scan = torch.eye(n).repeat_interleave(coarseness, 1)[None]
    slabs = F.adaptive_avg_pool1d(scan, max(2, round(n * coarseness / ratio)))
    back = F.interpolate(slabs, size=n * coarseness, mode="linear", align_corners=False)
    return F.avg_pool1d(back, coarseness)[0]


@dataclass(frozen=True)
class RandomSlices:
    """A share of the scans has slices of 1 mm up to `thickest_mm`."""

    share: float = 0.15
    thickest_mm: float = 3.0

    def draw(self, stream: Stream) -> Slices | None:
        """Draw the slices of one scan, or none."""
        if not stream.chance(self.share):
            return None
        return Slices(stream.integer(3), stream.uniform(1.0, self.thickest_mm))
