"""Tone: gamma and clipping of the finished scan, relative to white matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Tone:
    """Gamma and clipping of intensities, as by a scanner's or a converter's rescaling.

    Attributes
    ----------
    gamma : float
        Exponent; 1 for none. 0 and the intensity of white matter are fixed points.
    clip : float
        Largest value in units of white matter; 0 for none.

    References
    ----------
    Billot et al. 2023, doi:10.1016/j.media.2023.102789 (gamma).
    """

    gamma: float = 1.0
    clip: float = 0.0

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image after gamma and clipping; negative values are unchanged."""
        white = max(view.white_matter, 1.0)
        if self.clip > 0:
            image = image.clamp(max=self.clip * white)
        return bend(image, self.gamma, white)


def bend(image: torch.Tensor, gamma: float, white: float) -> torch.Tensor:
    """Return intensities to the power of `gamma`; 0, `white` and negative values are unchanged."""
    if gamma == 1.0:
        return image
    return torch.where(image > 0, (image / white).clamp_(min=1e-6).pow_(gamma).mul_(white), image)


@dataclass(frozen=True)
class RandomTone:
    """Gamma of exp(n), n normal with standard deviation `gamma_sd`; clipping with probability `clip_share`.

    The clipping level is uniform in the range `clip`, in units of white matter.

    Examples
    --------
    >>> tone = RandomTone(gamma_sd=0, clip_share=1).draw(Stream(1, "tone"))
    >>> tone.gamma, 0.95 <= tone.clip <= 1.2
    (1.0, True)
    """

    gamma_sd: float = 0.25
    clip_share: float = 0.1
    clip: tuple[float, float] = (0.95, 1.2)

    def draw(self, stream: Stream) -> Tone:
        """Sample the tone of one scan."""
        gamma = math.exp(stream.normal(self.gamma_sd))
        return Tone(gamma, stream.uniform(*self.clip) if stream.chance(self.clip_share) else 0.0)
