"""Robust intensity scaling, the same in training and inference.

A whole-volume z-score depends on how much air and neck the field of view holds. The coarsest level sees the image in
units of its bright half; once it has found the brain, the finer levels see it in units of the brain's own spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Scaling:
    """A fixed linear scaling: (image - offset) / unit, clamped to +-`limit`.

    Attributes
    ----------
    offset, unit : float
        In the image's units.
    limit : float
        In units of the result.
    """

    offset: float
    unit: float
    limit: float

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """The scaled image, of the same shape, as a new tensor."""
        return ((image - self.offset) / self.unit).clamp_(-self.limit, self.limit)


def foreground_scaling(image: torch.Tensor) -> Scaling:
    """Scaling for the coarsest level: units of the mean of all voxels above the mean.

    Parameters
    ----------
    image : (X, Y, Z) float tensor
        Finite values.

    Returns
    -------
    Scaling
        Without offset; of unit 1 where nothing is above 0.

    Examples
    --------
    >>> foreground_scaling(torch.tensor([[[0.0, 0.0, 0.0, 10.0, 30.0]]])).unit
    20.0
    """
    bright = image[image > image.mean()]
    unit = float(bright.mean()) if bright.numel() else 1.0
    return Scaling(0.0, unit if unit > 0 else 1.0, 4.0)


def brain_scaling(image: torch.Tensor, brain: torch.Tensor, *, least_voxels: int = 200) -> Scaling:
    """Scaling for the finer levels: median and interquartile range inside of the coarse brain mask.

    Parameters
    ----------
    image : (X, Y, Z) float tensor
        The image on the coarsest level's grid.
    brain : (X, Y, Z) bool tensor
        Where the coarsest level saw the brain.
    least_voxels : int
        With a smaller mask the foreground (all above the mean) takes its place.

    Returns
    -------
    Scaling
        Of the image's own unit where the voxels do not differ.

    Examples
    --------
    >>> brain_scaling(torch.arange(5.0).view(5, 1, 1), torch.ones(5, 1, 1, dtype=torch.bool), least_voxels=1)
    Scaling(offset=2.0, unit=2.0, limit=6.0)
    """
    values = image[brain]
    if values.numel() < least_voxels:
        values = image[image > image.mean()]
    if values.numel() == 0:
        return Scaling(0.0, 1.0, 6.0)
    low, middle, high = torch.quantile(values.float(), torch.tensor([0.25, 0.5, 0.75], device=values.device)).tolist()
    unit = high - low
    return Scaling(middle, unit if unit > 0 else max(abs(middle), 1.0), 6.0)
