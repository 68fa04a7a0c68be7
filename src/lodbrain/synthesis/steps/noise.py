"""Noise of the coils: Gaussian, or Rician as in magnitude images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Noise:
    """Noise of standard deviation `level` x white matter in each voxel of the scan.

    `rician`: the magnitude of complex noise, so that air is no darker than 0.
    """

    level: float
    rician: bool = False

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image with noise."""
        sigma = self.level * view.white_matter
        if sigma == 0:
            return image
        noisy = torch.add(image, view.normal("noise", image), alpha=sigma)
        if not self.rician:
            return noisy
        return torch.hypot(noisy, view.normal("imaginary noise", image).mul_(sigma))


@dataclass(frozen=True)
class RandomNoise:
    """Up to `level` of noise, in units of white matter, often little (u^1.5, u uniform)."""

    level: float = 0.08
    rician_share: float = 0.5

    def draw(self, stream: Stream) -> Noise:
        """Draw the noise of one scan."""
        return Noise(self.level * stream.uniform() ** 1.5, stream.chance(self.rician_share))
