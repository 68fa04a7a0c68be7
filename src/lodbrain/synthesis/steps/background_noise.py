"""Background intensities: masked air, magnitude noise, and the noise of MP2RAGE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

#: Intensity, as a share of white matter's, at which a voxel counts half as air.
_DARK = 0.05


@dataclass(frozen=True)
class Background:
    """Intensities of voxels without signal.

    Attributes
    ----------
    kind : {"zero", "rician", "mp2rage"}
        ``"zero"`` masks air; ``"rician"`` adds magnitude noise to air, like a bias correction that amplifies it;
        ``"mp2rage"`` replaces air by uniform noise, like the ratio of two images that contain only noise there [1]_.
    level : float
        In units of white matter: for ``"rician"`` the standard deviation of the noise before the magnitude is taken,
        for ``"mp2rage"`` the largest value.

    References
    ----------
    .. [1] Marques et al. 2010, doi:10.1016/j.neuroimage.2009.10.002.
    """

    kind: Literal["zero", "rician", "mp2rage"]
    level: float = 0.0

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image with its air replaced."""
        if view.signal is None or (self.level == 0 and self.kind != "zero"):
            return image
        dark = _DARK * view.white_matter
        if self.kind == "zero":
            return torch.where(view.signal < dark, 0.0, image)
        # the weight is 1 in air, 0.5 in tissue of intensity `dark`, and almost 0 in the brain
        air = torch.reciprocal((view.signal / dark).pow_(4).add_(1))
        uniform = view.uniform("background", image)
        if self.kind == "rician":
            rayleigh = torch.sqrt(-2 * torch.log1p(-uniform))
            return torch.addcmul(image, air, rayleigh, value=self.level * view.white_matter)
        return torch.lerp(image, uniform.mul_(self.level * view.white_matter), air)


@dataclass(frozen=True)
class RandomBackground:
    """Probabilities of masked, noisy and MP2RAGE-like backgrounds; other scans keep the background of the noise step.

    The levels are sampled uniformly from their ranges, in units of white matter.

    Examples
    --------
    >>> background = RandomBackground(0, 0, 1).draw(Stream(1, "background"))
    >>> background.kind, 0.5 <= background.level <= 1.3
    ('mp2rage', True)
    """

    zero_share: float = 0.3
    rician_share: float = 0.3
    mp2rage_share: float = 0.15
    rician_level: tuple[float, float] = (0.005, 0.06)
    mp2rage_level: tuple[float, float] = (0.5, 1.3)

    def draw(self, stream: Stream) -> Background | None:
        """Sample the background of one scan, or return None."""
        pick = stream.uniform()
        if pick < self.zero_share:
            return Background("zero")
        if pick < self.zero_share + self.rician_share:
            return Background("rician", stream.uniform(*self.rician_level))
        if pick < self.zero_share + self.rician_share + self.mp2rage_share:
            return Background("mp2rage", stream.uniform(*self.mp2rage_level))
        return None
