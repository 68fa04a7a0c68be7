"""Bias field: the coils receive more from what is near."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Bias:
    """Multiplies with exp(strength x field)."""

    field: RandomField
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """The image with the field."""
        if self.strength == 0:
            return image
        return image * self.field.on(view.grid, image.device).mul_(self.strength).exp_()


@dataclass(frozen=True)
class RandomBias:
    """Fields of any strength up to a largest one.

    Attributes
    ----------
    strength : float
        Largest standard deviation of the log field at its control points; between them it is a third of that
        (`lodbrain.synthesis.fields.SPLINE_SD`).
    uhf : tuple of 2 float
        Smallest and largest at 7 T and above.
    lattice_mm : tuple of 2 float
        Distance of the control points.
    """

    strength: float = 0.5
    uhf: tuple[float, float] = (0.2, 0.6)
    lattice_mm: tuple[float, float] = (40.0, 110.0)

    def draw(self, stream: Stream, *, uhf: bool = False) -> Bias:
        """Draw the field of one scan."""
        field = RandomField(stream.seed(), stream.uniform(*self.lattice_mm))
        return Bias(field, stream.uniform(*self.uhf) if uhf else stream.uniform(0.0, self.strength))
