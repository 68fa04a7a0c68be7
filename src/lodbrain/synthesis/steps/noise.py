"""Thermal noise: Gaussian, or Rician as in magnitude images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Noise:
    """Noise of standard deviation `level` x white matter in each voxel of the scan.

    If `rician`, the image is the magnitude of the signal with complex noise, so that air is positive.

    References
    ----------
    Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618.
    """

    level: float
    rician: bool = False

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image with noise."""
        sigma = self.level * view.white_matter
        if sigma == 0:
            return image
        noisy = torch.add(image, view.normal("noise", image), alpha=sigma)
        if not self.rician:
            return noisy
        return torch.hypot(noisy, view.normal("imaginary noise", image).mul_(sigma))


@dataclass(frozen=True)
class RandomNoise:
    """Noise up to `level` in units of white matter (`level` u^1.5, u uniform in 0 to 1); a share is Rician.

    Examples
    --------
    >>> noise = RandomNoise(level=0.08, rician_share=1).draw(Stream(1, "noise"))
    >>> noise.rician, 0 <= noise.level <= 0.08
    (True, True)
    """

    level: float = 0.08
    rician_share: float = 0.5

    def draw(self, stream: Stream) -> Noise:
        """Sample the noise of one scan."""
        return Noise(self.level * stream.uniform() ** 1.5, stream.chance(self.rician_share))
