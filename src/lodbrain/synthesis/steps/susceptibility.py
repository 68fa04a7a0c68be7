"""T2* drop-outs: signal loss near air-filled cavities, above the nose and above the ears.

The field is inhomogeneous next to air, so that spins dephase within a voxel. Positions are in mm of the head (right,
front, up from the brain's centre) and move with it. Unlike the transmit field, which fades gradually, the loss has an
edge, which a random field makes irregular.

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

#: Deviation of the edge from a sphere, in radii per unit of the random field.
_UNEVEN = 0.8


@dataclass(frozen=True)
class DropOut:
    """Signal loss around a point of the head.

    Attributes
    ----------
    at_mm : tuple of 3 float
        Right, front, up from the brain's centre, mm.
    radius_mm : float
        Distance at which the factor is exp(-depth / e).
    depth : float
        The factor in the centre is exp(-depth).
    """

    at_mm: tuple[float, float, float]
    radius_mm: float
    depth: float


@dataclass(frozen=True)
class Susceptibility:
    """Multiply the image with exp(-depth exp(-(d / radius)^4)).

    d is the distance to the centre of a drop-out, modified by a random field.
    """

    drop_outs: tuple[DropOut, ...]
    field: RandomField

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image with the signal loss."""
        drop_outs = [drop_out for drop_out in self.drop_outs if drop_out.depth]
        if not drop_outs:
            return image
        x, y, z = view.grid.axes_mm(image.device)
        uneven = self.field.on(view.grid, image.device).mul_(_UNEVEN).exp_()
        loss = torch.zeros(view.grid.shape, device=image.device)
        places = view.pose.to_scanner([drop_out.at_mm for drop_out in drop_outs])
        for drop_out, (a, b, c) in zip(drop_outs, places, strict=True):
            square = (x - a)[:, None, None] ** 2 + (y - b)[None, :, None] ** 2 + (z - c)[None, None, :] ** 2
            # exp(-81) does not change the result; smaller numbers are denormal, which processors compute slowly
            ratio = square.mul_(uneven).div_(drop_out.radius_mm**2).clamp_(max=9.0)
            loss.add_(ratio.square_().neg_().exp_(), alpha=drop_out.depth)
        return image * loss.neg_().exp_()


@dataclass(frozen=True)
class RandomSusceptibility:
    """Drop-outs at each cavity: radius uniform in 0.4 to 1 times `radius_mm`, depth uniform in 0 to `depth`.

    Their centres vary by 4 mm (standard deviation) along each axis, their edges over 8 to 16 mm.

    Examples
    --------
    >>> found = RandomSusceptibility(radius_mm=22).draw(Stream(1, "susceptibility"))
    >>> len(found.drop_outs), all(8.8 <= drop_out.radius_mm <= 22 for drop_out in found.drop_outs)
    (3, True)
    """

    radius_mm: float = 22.0
    depth: float = 2.5

    def draw(self, stream: Stream) -> Susceptibility:
        """Sample the drop-outs of one scan."""
        drop_outs = []
        for x, y, z in CAVITIES_MM:
            at = (x + stream.normal(4), y + stream.normal(4), z + stream.normal(4))
            drop_outs.append(DropOut(at, stream.uniform(0.4, 1.0) * self.radius_mm, stream.uniform(0, self.depth)))
        return Susceptibility(tuple(drop_outs), RandomField(stream.seed(), stream.uniform(8, 16)))
