"""Field of view and voxel size, as set at the scanner: tight around the brain, or the head with a variable margin."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.streams import Stream

#: Fewest voxels along an axis.
_FEWEST = 16


@dataclass(frozen=True)
class RandomFieldOfView:
    """Ranges of the field of view and the voxel size.

    Attributes
    ----------
    voxel_mm : tuple of 2 float
        Smallest and largest voxel side (cube root of the volume), mm.
    anisotropy : float
        In 30% of the scans each voxel side is scaled independently, by up to +- this share, at constant volume.
    shift_mm : float
        Largest distance of the field of view's centre from the brain's along each axis, mm.
    tight_share, stripped_tight_share : float
        Probability of a field of view cropped to the brain, with margins of -2 to 12 mm, which may cut parts of it off;
        the second applies to skull-stripped scans. Other margins are 2 to 49 mm, and up to 50 mm more below (the neck).

    References
    ----------
    Billot et al. 2023, doi:10.1016/j.media.2023.102789 (random voxel sizes and cropping).

    Examples
    --------
    >>> brain_box_mm = torch.tensor([[0.0, 0.0, 0.0], [140.0, 170.0, 130.0]])
    >>> grid = RandomFieldOfView(voxel_mm=(1.0, 1.0)).draw(
    ...     Stream(1, "field of view"), brain_box_mm, Deformation(origin_mm=(70.0, 85.0, 65.0))
    ... )
    >>> x, y, z = grid.spacing_mm
    >>> round(x * y * z, 3), all(n * v > 100 for n, v in zip(grid.shape, grid.spacing_mm))
    (1.0, True)
    """

    voxel_mm: tuple[float, float] = (0.6, 1.4)
    anisotropy: float = 0.15
    shift_mm: float = 40.0
    tight_share: float = 0.15
    stripped_tight_share: float = 0.5

    def draw(self, stream: Stream, brain_box_mm: torch.Tensor, pose: Deformation, *, stripped: bool = False) -> Grid:
        """Sample the grid of one scan; `brain_box_mm` (2, 3) holds the lowest and highest corner of the brain."""
        low, high = brain_box_mm - torch.tensor(pose.origin_mm, dtype=brain_box_mm.dtype)
        corners = torch.tensor(pose.to_scanner(torch.cartesian_prod(*torch.stack([low, high], 1)).tolist()))
        box = torch.stack([corners.min(0).values, corners.max(0).values])
        # The bounding box of a rotated box overestimates the brain's extent: half of the excess is removed.
        centre, half = box.mean(0), (box[1] - box[0]) / 2 * 0.93
        generator = stream.generator
        if stream.chance(self.stripped_tight_share if stripped else self.tight_share):
            margins = torch.rand((2, 3), generator=generator) * 14 - 2
        else:
            least = torch.tensor([2.0, 4.0, 2.0])
            margins = torch.rand((2, 3), generator=generator) * 45.0 + least
            margins[0, 2] += stream.uniform(0, 50)  # the neck
            shift = (torch.rand(3, generator=generator) * 2 - 1) * self.shift_mm * stream.uniform()
            margins = torch.stack([margins[0] + shift, margins[1] - shift]).clamp(min=0)
        start, stop = centre - half - margins[0], centre + half + margins[1]
        base = stream.uniform(*self.voxel_mm)
        stretch = 1 + (torch.rand(3, generator=generator) * 2 - 1) * self.anisotropy * float(stream.chance(0.3))
        spacing = (base * stretch / stretch.prod() ** (1 / 3)).tolist()
        shape = [max(_FEWEST, round(float(n) / v)) for n, v in zip(stop - start, spacing, strict=True)]
        x, y, z = start.tolist()
        return Grid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), (x, y, z))
