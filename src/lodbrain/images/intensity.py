"""Intensity normalisation for training and inference, invariant to a scan's offset, gain and background.

1. A constant background that is not plausibly black is set to the darkest intensity of the other voxels
   (`lodbrain.images.black_background`).
2. For the coarsest level, the image is scaled by its `black_level` and the mean of its bright half
   (`foreground_scaling`).
3. For the finer levels, it is scaled by the median and interquartile range of the brain found by the coarsest level
   (`brain_scaling`).

A whole-volume z-score would depend on the amount of air and neck in the field of view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.images.black_background import blacken_background

#: Share of the voxels that may be darker than black: ringing, dropped lines.
BELOW_BLACK = 0.005
#: Of more voxels only some are looked at for it.
MOST_VALUES = 2_000_000
#: Units beyond which intensities are clamped.
FOREGROUND_LIMIT, BRAIN_LIMIT = 4.0, 6.0
#: Of the brain's intensities: the outer two give the unit, the middle one the offset.
BRAIN_QUANTILES = (0.25, 0.5, 0.75)
#: With a smaller brain mask the foreground takes its place.
LEAST_BRAIN_VOXELS = 200


@dataclass(frozen=True)
class Scaling:
    """Linear scaling (image - offset) / unit, both in the image's units, clamped to +-`limit`."""

    offset: float
    unit: float
    limit: float

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return the scaled image as a new tensor of the same shape."""
        return ((image - self.offset) / self.unit).clamp_(-self.limit, self.limit)


def black_level(image: torch.Tensor) -> float:
    """Return the intensity without signal: one voxel in 200 is darker.

    It is 0 if air was masked with 0, about 0 in magnitude images, and shifts with the intensity offset.

    Parameters
    ----------
    image : (X, Y, Z) float tensor
        Finite values; images of more than two million voxels are subsampled.

    Examples
    --------
    >>> black_level(torch.arange(1000.0).view(10, 10, 10) - 1024)
    -1019.0
    """
    values = image.reshape(-1)
    values = values[:: max(1, values.numel() // MOST_VALUES)]
    return float(values.kthvalue(1 + int(BELOW_BLACK * values.numel())).values)


def from_black(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a scan shifted to a black level of 0, as required before multiplying intensities or padding with 0.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Finite. It is returned itself if no change is needed.

    Examples
    --------
    >>> scan = np.full((8, 8, 8), -1024, np.float32)
    >>> scan[2:6, 2:6, 2:6] += np.arange(64).reshape(4, 4, 4)
    >>> float(from_black(scan).min()), float(from_black(scan).max())
    (0.0, 63.0)
    """
    data, _ = blacken_background(data)
    black = black_level(torch.from_numpy(np.ascontiguousarray(data)))  # flipped axes have negative strides
    return data - np.float32(black) if black else data


def foreground_scaling(image: torch.Tensor) -> Scaling:
    """Return the scaling for the coarsest level: offset by the black level, unit the mean of all voxels above the mean.

    The unit is 1 if all voxels are equal.

    Examples
    --------
    >>> foreground_scaling(torch.tensor([[[5.0, 5.0, 5.0, 15.0, 35.0]]]))
    Scaling(offset=5.0, unit=20.0, limit=4.0)
    """
    black = black_level(image)
    image = image - black  # first, so that an offset does not reduce the precision of the means
    bright = image[image > image.mean()]
    unit = float(bright.mean()) if bright.numel() else 1.0
    return Scaling(black, unit if unit > 0 else 1.0, FOREGROUND_LIMIT)


def brain_scaling(image: torch.Tensor, brain: torch.Tensor, *, least_voxels: int = LEAST_BRAIN_VOXELS) -> Scaling:
    """Scaling for the finer levels: median and interquartile range inside of the coarse brain mask.

    Parameters
    ----------
    image : (X, Y, Z) float tensor
        The image on the coarsest level's grid.
    brain : (X, Y, Z) bool tensor
        Brain mask from the coarsest level.
    least_voxels : int
        If the mask is smaller, the foreground (all voxels above the mean) is used instead.

    Returns
    -------
    Scaling
        If the interquartile range is 0, its unit is the absolute median, at least 1.

    Examples
    --------
    >>> brain_scaling(torch.arange(5.0).view(5, 1, 1), torch.ones(5, 1, 1, dtype=torch.bool), least_voxels=1)
    Scaling(offset=2.0, unit=2.0, limit=6.0)
    """
    values = image[brain]
    if values.numel() < least_voxels:
        values = image[image > image.mean()]
    if values.numel() == 0:
        return Scaling(0.0, 1.0, BRAIN_LIMIT)
    low, middle, high = torch.quantile(values.float(), torch.tensor(BRAIN_QUANTILES, device=values.device)).tolist()
    unit = high - low
    return Scaling(middle, unit if unit > 0 else max(abs(middle), 1.0), BRAIN_LIMIT)
