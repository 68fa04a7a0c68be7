"""Transmit field (B1+) of 7 T and 9.4 T: bright in the centre, signal loss at temporal lobes and cerebellum.

At 300 MHz and above the wavelength in the head is about 13 cm, so that waves from all sides interfere: constructively
in the centre, destructively at the sides and below. Positions are in mm of the head (right, front, up from the brain's
centre) and move with it.

References
----------
Vaughan et al. 2001, doi:10.1002/mrm.1156.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Bump:
    """A Gaussian of standard deviation `width_mm` around a point of the head, of peak `log_gain` in the log field."""

    at_mm: tuple[float, float, float]
    width_mm: float
    log_gain: float


@dataclass(frozen=True)
class Transmit:
    """Multiply the image with exp(sum of bumps)."""

    bumps: tuple[Bump, ...]

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image multiplied with the field."""
        bumps = [bump for bump in self.bumps if bump.log_gain]
        if not bumps:
            return image
        log_field = torch.zeros(view.grid.shape, device=image.device)
        axes = view.grid.axes_mm(image.device)
        for bump, place in zip(bumps, view.pose.to_scanner([bump.at_mm for bump in bumps]), strict=True):
            x, y, z = (torch.exp(-((a - c) ** 2) / (2 * bump.width_mm**2)) for a, c in zip(axes, place, strict=True))
            log_field.addcmul_(x[:, None, None] * y[None, :, None], bump.log_gain * z[None, None, :])
        return image * log_field.exp_()


@dataclass(frozen=True)
class RandomTransmit:
    """Ranges of the transmit field, as logarithms of the signal.

    The gain in the centre is uniform in 0 to `centre`, the loss at three other places uniform in 0 to `drop_out`. The
    widths (standard deviations) are 45 to 80 mm in the centre and 18 to 35 mm at the other places.

    Examples
    --------
    >>> centre, *losses = RandomTransmit().draw(Stream(1, "transmit")).bumps
    >>> 0 <= centre.log_gain <= 0.9, all(-1.2 <= bump.log_gain <= 0 for bump in losses)
    (True, True)
    """

    centre: float = 0.9
    drop_out: float = 1.2

    def draw(self, stream: Stream) -> Transmit:
        """Sample the field of one scan: a bright centre, and losses at both temporal lobes and the cerebellum."""
        bumps = [Bump((0.0, 0.0, 0.0), stream.uniform(45, 80), stream.uniform(0.0, self.centre))]
        for place in (
            (-stream.uniform(40, 65), stream.uniform(-25, 15), stream.uniform(-55, -25)),
            (stream.uniform(40, 65), stream.uniform(-25, 15), stream.uniform(-55, -25)),
            (stream.uniform(-25, 25), stream.uniform(-75, -40), stream.uniform(-75, -45)),
        ):
            bumps.append(Bump(place, stream.uniform(18, 35), -stream.uniform(0.0, self.drop_out)))
        return Transmit(tuple(bumps))
