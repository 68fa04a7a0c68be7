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
        ratio = self.thickness_mm / view.grid.spacing_mm[self.axis]
        if ratio <= _THIN:
            return image
        size = list(image.shape[-3:])
        thick = [max(2, round(n / ratio)) if axis == self.axis else n for axis, n in enumerate(size)]
        slabs = F.adaptive_avg_pool3d(image.reshape(1, -1, *size), (thick[0], thick[1], thick[2]))
        return F.interpolate(slabs, size=size, mode="trilinear", align_corners=False).view(image.shape)


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
