"""T2* drop-outs: next to air the field is so uneven that signal is lost, above the nose and above the ears.

Places are in mm of the head (right, front, up from the brain's centre) and move with it. Lost signal has an edge,
unlike the fade of the transmit field; the edge is uneven.

References
----------
Ojemann et al. 1997, doi:10.1006/nimg.1997.0289 (orbitofrontal cortex and inferior temporal lobes).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

#: Sphenoid sinus and nose; left and right ear canal and mastoid.
CAVITIES_MM = ((0.0, 46.0, -34.0), (-50.0, -16.0, -42.0), (50.0, -16.0, -42.0))

#: How far the edge strays from the sphere, in radii for each unit of the field.
_UNEVEN = 0.8


@dataclass(frozen=True)
class DropOut:
    """A place without signal, in the head.

    Attributes
    ----------
    at_mm : tuple of 3 float
        Right, front, up from the brain's centre.
    radius_mm : float
        Distance at which exp(-depth / e) of the signal is left.
    depth : float
        In the centre exp(-depth) is left.
    """

    at_mm: tuple[float, float, float]
    radius_mm: float
    depth: float


@dataclass(frozen=True)
class Susceptibility:
    """Multiplies with exp(-depth exp(-(d / radius)^4)), d the distance to a cavity, made uneven by a field."""

    drop_outs: tuple[DropOut, ...]
    field: RandomField

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image without the signal that is lost."""
        drop_outs = [drop_out for drop_out in self.drop_outs if drop_out.depth]
        if not drop_outs:
            return image
        x, y, z = view.grid.axes_mm(image.device)
        uneven = self.field.on(view.grid, image.device).mul_(_UNEVEN).exp_()
        loss = torch.zeros(view.grid.shape, device=image.device)
        places = view.pose.to_scanner([drop_out.at_mm for drop_out in drop_outs])
        for drop_out, (a, b, c) in zip(drop_outs, places, strict=True):
            square = (x - a)[:, None, None] ** 2 + (y - b)[None, :, None] ** 2 + (z - c)[None, None, :] ** 2
            # exp(-81) is 0 for the loss; far smaller numbers are denormal, which processors compute slowly
            ratio = square.mul_(uneven).div_(drop_out.radius_mm**2).clamp_(max=9.0)
            loss.add_(ratio.square_().neg_().exp_(), alpha=drop_out.depth)
        return image * loss.neg_().exp_()


@dataclass(frozen=True)
class RandomSusceptibility:
    """Drop-outs of up to `radius_mm` and `depth` at each cavity."""

    radius_mm: float = 22.0
    depth: float = 2.5

    def draw(self, stream: Stream) -> Susceptibility:
        """Draw the drop-outs of one scan."""
        drop_outs = []
        for x, y, z in CAVITIES_MM:
            at = (x + stream.normal(4), y + stream.normal(4), z + stream.normal(4))
            drop_outs.append(DropOut(at, stream.uniform(0.4, 1.0) * self.radius_mm, stream.uniform(0, self.depth)))
        return Susceptibility(tuple(drop_outs), RandomField(stream.seed(), stream.uniform(8, 16)))
