"""Wrap-around: signal from beyond the field of view appears at the opposite side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Wrap:
    """Aliasing along `axis`, of `strength` (0 to 1) of the signal.

    Sampling k-space at distance 1 / field of view makes the image periodic in the field of view.

    References
    ----------
    Bernstein, King and Zhou 2004, Handbook of MRI Pulse Sequences, Academic Press (aliasing).
    """

    axis: int
    strength: float = 1.0

    def apply(self, image: torch.Tensor, view: View, signal: Callable[[View], torch.Tensor]) -> torch.Tensor:
        """Return the image with the aliased signal added; `signal` returns that of the head in another view."""
        if self.strength == 0:
            return image
        period = view.fov_mm[self.axis]
        for by_mm in (-period, period):
            image = torch.add(image, signal(view.moved(self.axis, by_mm)), alpha=self.strength)
        return image


@dataclass(frozen=True)
class RandomWrap:
    """Wrap-around with probability `share`, along any axis, of strength uniform in 0.2 to 1.

    Examples
    --------
    >>> 0.2 <= RandomWrap(share=1).draw(Stream(1, "wrap")).strength <= 1
    True
    """

    share: float = 0.03

    def draw(self, stream: Stream) -> Wrap | None:
        """Sample the wrap-around of one scan, or return None."""
        if not stream.chance(self.share):
            return None
        return Wrap(stream.integer(3), stream.uniform(0.2, 1.0))
