"""Ghosting: faint copies of the head along the phase-encoding axis, from pulsation, breathing, uneven echoes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Ghosts:
    """`count` - 1 copies along `axis`, one field of view / `count` apart, together `strength` of the image.

    On a crop the copies are those of the crop.
    """

    axis: int
    count: int
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image and its ghosts."""
        if self.strength == 0 or self.count < 2:
            return image
        axis = self.axis - 3
        n = image.shape[axis]
        ghosts = sum(image.roll(round(n * k / self.count), axis) for k in range(1, self.count))
        return torch.add(image, torch.as_tensor(ghosts), alpha=self.strength / (self.count - 1))


@dataclass(frozen=True)
class RandomGhosts:
    """A share of the scans has up to `strength` of ghosts."""

    share: float = 0.05
    strength: float = 0.2

    def draw(self, stream: Stream) -> Ghosts | None:
        """Draw the ghosts of one scan, or none."""
        if not stream.chance(self.share):
            return None
        return Ghosts(stream.integer(3), 2 + stream.integer(4), stream.uniform(0.02, self.strength))
