"""Thick slices: voxels that are longer along one axis, interpolated to the scan's grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

#: Thinner slices (in voxels) leave the image unchanged.
_THIN = 1.2


@dataclass(frozen=True)
class Slices:
    """Average over slices of `thickness_mm` along `axis`, then interpolate to the scan's voxels.

    References
    ----------
    Billot et al. 2023, doi:10.1016/j.media.2023.102789 (simulation of low resolution).
    """

    axis: int
    thickness_mm: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image as acquired with such slices."""
        ratio = self.thickness_mm / view.grid.spacing_mm[self.axis] * view.coarseness
        if ratio <= _THIN:
            return image
        weights = _slab_weights(image.shape[self.axis - 3], ratio, view.coarseness).to(image.device)
        return (image.movedim(self.axis - 3, -1) @ weights).movedim(-1, self.axis - 3).contiguous()


def _slab_weights(n: int, ratio: float, coarseness: int) -> torch.Tensor:
    """(n, n) float32: weight of each voxel of an axis (rows) in each voxel after slicing (columns).

    The weights are computed in voxels of the scan, `ratio` of which are as thick as a slice. A voxel of the image is
    `coarseness` of them: they have its value before slicing, and it has their mean after.
    """
    scan = torch.eye(n).repeat_interleave(coarseness, 1)[None]
    slabs = F.adaptive_avg_pool1d(scan, max(2, round(n * coarseness / ratio)))
    back = F.interpolate(slabs, size=n * coarseness, mode="linear", align_corners=False)
    return F.avg_pool1d(back, coarseness)[0]


@dataclass(frozen=True)
class RandomSlices:
    """Thick slices with probability `share`: along any axis, thickness uniform in 1 mm to `thickest_mm`.

    Examples
    --------
    >>> 1 <= RandomSlices(share=1, thickest_mm=3).draw(Stream(1, "slices")).thickness_mm <= 3
    True
    """

    share: float = 0.15
    thickest_mm: float = 3.0

    def draw(self, stream: Stream) -> Slices | None:
        """Sample the slices of one scan, or return None."""
        if not stream.chance(self.share):
            return None
        return Slices(stream.integer(3), stream.uniform(1.0, self.thickest_mm))
