"""Receive bias field (B1-): coils receive more signal from nearby tissue."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Bias:
    """Multiply the image with exp(strength x field), a smooth field in scanner space.

    References
    ----------
    Sled et al. 1998, doi:10.1109/42.668698 (multiplicative, slowly varying model of the bias field).
    """

    field: RandomField
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the image multiplied with the field."""
        if self.strength == 0:
            return image
        return image * self.field.on(view.grid, image.device).mul_(self.strength).exp_()


@dataclass(frozen=True)
class RandomBias:
    """Ranges of the bias field.

    Attributes
    ----------
    strength : float
        Largest standard deviation of the log field at its control points; between them it is a third of that
        (`lodbrain.synthesis.fields.SPLINE_SD`). Sampled uniformly from 0.
    uhf : tuple of 2 float
        Smallest and largest such standard deviation at 7 T and above.
    lattice_mm : tuple of 2 float
        Smallest and largest distance of the control points, mm.

    Examples
    --------
    >>> bias = RandomBias().draw(Stream(1, "bias"), uhf=True)
    >>> 0.2 <= bias.strength <= 0.6, 40 <= bias.field.lattice_mm <= 110
    (True, True)
    """

    strength: float = 0.5
    uhf: tuple[float, float] = (0.2, 0.6)
    lattice_mm: tuple[float, float] = (40.0, 110.0)

    def draw(self, stream: Stream, *, uhf: bool = False) -> Bias:
        """Sample the bias field of one scan."""
        field = RandomField(stream.seed(), stream.uniform(*self.lattice_mm))
        return Bias(field, stream.uniform(*self.uhf) if uhf else stream.uniform(0.0, self.strength))
