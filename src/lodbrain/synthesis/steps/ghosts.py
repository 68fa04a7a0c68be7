"""Ghosting: faint copies of the head along the phase-encoding axis, from pulsation, breathing or uneven echoes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Ghosts:
    """`count` - 1 copies along `axis`, spaced by the field of view / `count`, which share `strength` of the signal.

    A periodic modulation of every `count`-th line of k-space gives such copies. On a crop, the crop's extent takes the
    place of the field of view.

    References
    ----------
    Pérez-García et al. 2021, doi:10.1016/j.cmpb.2021.106236 (TorchIO, ghosting).
    """

    axis: int
    count: int
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image with its ghosts."""
        if self.strength == 0 or self.count < 2:
            return image
        axis = self.axis - 3
        n = image.shape[axis]
        ghosts = sum(image.roll(round(n * k / self.count), axis) for k in range(1, self.count))
        return torch.add(image, torch.as_tensor(ghosts), alpha=self.strength / (self.count - 1))


@dataclass(frozen=True)
class RandomGhosts:
    """Ghosts with probability `share`: `count` 2 to 5, along any axis, strength uniform in 0.02 to `strength`.

    Examples
    --------
    >>> ghosts = RandomGhosts(share=1).draw(Stream(1, "ghosts"))
    >>> 2 <= ghosts.count <= 5, 0.02 <= ghosts.strength <= 0.2
    (True, True)
    """

    share: float = 0.05
    strength: float = 0.2

    def draw(self, stream: Stream) -> Ghosts | None:
        """Sample the ghosts of one scan, or return None."""
        if not stream.chance(self.share):
            return None
        return Ghosts(stream.integer(3), 2 + stream.integer(4), stream.uniform(0.02, self.strength))
