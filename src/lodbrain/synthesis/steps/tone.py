"""Tone: gamma and clipping of the finished scan, both relative to white matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Tone:
    """Grey values bent and clipped.

    Attributes
    ----------
    gamma : float
        Exponent; 1 for none. Black and white matter stay where they are.
    clip : float
        Largest value in units of white matter; 0 for none.
    """

    gamma: float = 1.0
    clip: float = 0.0

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The bent image; negative values are left as they are."""
        white = max(view.white_matter, 1.0)
        if self.clip > 0:
            image = image.clamp(max=self.clip * white)
        return bend(image, self.gamma, white)


def bend(image: torch.Tensor, gamma: float, white: float) -> torch.Tensor:
    """Grey values to the power of `gamma`: 0 and `white` stay, and so do negative values."""
    if gamma == 1.0:
        return image
    return torch.where(image > 0, (image / white).clamp_(min=1e-6).pow_(gamma).mul_(white), image)


@dataclass(frozen=True)
class RandomTone:
    """Gamma of exp(normal of `gamma_sd`); a share is clipped at `clip` (lowest, highest) of white matter."""

    gamma_sd: float = 0.25
    clip_share: float = 0.1
    clip: tuple[float, float] = (0.95, 1.2)

    def draw(self, stream: Stream) -> Tone:
        """Draw the tone of one scan."""
        gamma = math.exp(stream.normal(self.gamma_sd))
        return Tone(gamma, stream.uniform(*self.clip) if stream.chance(self.clip_share) else 0.0)
