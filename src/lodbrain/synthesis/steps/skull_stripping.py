"""Skull-stripping, accurate or with errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Bite:
    """A ball that was removed in error; its centre is in mm right, front and up from the brain's centre."""

    at_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True)
class Stripping:
    """Set voxels farther than a margin from the brain to zero.

    Attributes
    ----------
    margin_mm : float
        Distance from the brain that is kept; below 0 nothing outside the brain is.
    error : RandomField
        Local variation of the margin.
    error_mm : float
        Amplitude of that variation.
    leak_mm : float
        Added to the margin where the field is highest: dura, eyes and fat that were not removed.
    bites : tuple of Bite
        Parts of the brain that were removed in error. They are background in the target, too, because the image has no
        information about them.

    References
    ----------
    Hoopes et al. 2022, doi:10.1016/j.neuroimage.2022.119474 (skull-stripping and its typical errors).
    """

    margin_mm: float
    error: RandomField
    error_mm: float = 0.0
    leak_mm: float = 0.0
    bites: tuple[Bite, ...] = ()

    def kept(self, view: View) -> torch.Tensor:
        """(X, Y, Z) bool: voxels that are kept."""
        if view.distance_mm is None:
            raise ValueError("stripping needs the view's distance to the brain, got None")
        device = view.distance_mm.device
        margin: torch.Tensor | float = self.margin_mm
        if self.error_mm or self.leak_mm:
            field = self.error.on(view.grid, device)
            # about 4% of all places exceed a field of 0.6
            margin = self.margin_mm + self.error_mm * field + self.leak_mm * (field > 0.6)
            margin = margin.clamp_(min=0.0)
        kept = view.distance_mm <= (margin if isinstance(margin, torch.Tensor) else max(margin, 0.0))
        x, y, z = view.grid.axes_mm(device)
        places = view.pose.to_scanner([bite.at_mm for bite in self.bites])
        for bite, (a, b, c) in zip(self.bites, places, strict=True):
            square = (x - a)[:, None, None] ** 2 + (y - b)[None, :, None] ** 2 + (z - c)[None, None, :] ** 2
            kept &= square > bite.radius_mm**2
        return kept


@dataclass(frozen=True)
class RandomStripping:
    """Skull-stripping with probability `share`; a share `bad_share` of it has errors.

    Errors are a leak of up to 20 mm, and up to two balls of 10 to 30 mm radius that reach 3 to 10 mm into the brain.

    Examples
    --------
    >>> stripping = RandomStripping(share=1, bad_share=0).draw(Stream(1, "stripping"), (140.0, 170.0, 130.0))
    >>> -0.5 <= stripping.margin_mm <= 7, stripping.bites
    (True, ())
    """

    share: float = 0.4
    bad_share: float = 0.15
    margin_mm: tuple[float, float] = (-0.5, 7.0)
    error_mm: float = 2.0

    def draw(self, stream: Stream, brain_mm: tuple[float, float, float]) -> Stripping | None:
        """Sample the stripping of one scan, or return None; bites are taken from the surface of such a brain."""
        if not stream.chance(self.share):
            return None
        margin, error = stream.uniform(*self.margin_mm), self.error_mm * stream.uniform() ** 2
        field = RandomField(stream.seed(), 15.0)
        leak, bites = 0.0, []
        if stream.chance(self.bad_share):
            leak = stream.uniform(0.0, 20.0)
            for _ in range(stream.integer(3)):
                radius = stream.uniform(10.0, 30.0)
                x, y, z = (stream.normal() for _ in range(3))
                length = max((x**2 + y**2 + z**2) ** 0.5, 1e-3)
                # the ball reaches 3 to 10 mm into an ellipsoid of the brain's size
                reach = [n / 2 + radius - stream.uniform(3.0, 10.0) for n in brain_mm]
                bites.append(Bite((x / length * reach[0], y / length * reach[1], z / length * reach[2]), radius))
        return Stripping(margin, field, error, leak, tuple(bites))
