"""Background: what processing makes of air, and the noise of MP2RAGE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

#: Tissue darker than this share of white matter counts half as air.
_DARK = 0.05


@dataclass(frozen=True)
class Background:
    """What is seen where there is no signal.

    Attributes
    ----------
    kind : {"zero", "rician", "mp2rage"}
        Masked; more magnitude noise than elsewhere (as behind a bias correction); the noise of full range of MP2RAGE,
        whose image is a ratio of two that are both noise there (Marques et al. 2010,
        doi:10.1016/j.neuroimage.2009.10.002).
    level : float
        In units of white matter: standard deviation of the noise before the magnitude; its largest value for MP2RAGE.
    """

    kind: Literal["zero", "rician", "mp2rage"]
    level: float = 0.0

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image with its air replaced."""
        if view.signal is None or (self.level == 0 and self.kind != "zero"):
            return image
        dark = _DARK * view.white_matter
        if self.kind == "zero":
            return torch.where(view.signal < dark, 0.0, image)
        # 1 in air, a half in tissue of `dark`, next to nothing in the brain
        air = torch.reciprocal((view.signal / dark).pow_(4).add_(1))
        uniform = view.uniform("background", image)
        if self.kind == "rician":
            rayleigh = torch.sqrt(-2 * torch.log1p(-uniform))
            return torch.addcmul(image, air, rayleigh, value=self.level * view.white_matter)
        return torch.lerp(image, uniform.mul_(self.level * view.white_matter), air)


@dataclass(frozen=True)
class RandomBackground:
    """Shares of masked, noisy and MP2RAGE-like backgrounds; the rest is as the scanner saw it."""

    zero_share: float = 0.3
    rician_share: float = 0.3
    mp2rage_share: float = 0.15
    rician_level: tuple[float, float] = (0.005, 0.06)
    mp2rage_level: tuple[float, float] = (0.5, 1.3)

    def draw(self, stream: Stream) -> Background | None:
        """Draw the background of one scan, or leave it."""
        pick = stream.uniform()
        if pick < self.zero_share:
            return Background("zero")
        if pick < self.zero_share + self.rician_share:
            return Background("rician", stream.uniform(*self.rician_level))
        if pick < self.zero_share + self.rician_share + self.mp2rage_share:
            return Background("mp2rage", stream.uniform(*self.mp2rage_level))
        return None
