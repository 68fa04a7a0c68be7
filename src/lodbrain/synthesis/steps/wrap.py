"""Wrap: what lies beyond the field of view folds in from the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Wrap:
    """Aliasing along `axis`, `strength` (0 to 1) of the signal: the field of view is one period."""

    axis: int
    strength: float = 1.0

    def apply(self, image: torch.Tensor, view: View, signal: Callable[[View], torch.Tensor]) -> torch.Tensor:
        """The image and what folds into it.

        Parameters
        ----------
        image : (..., X, Y, Z) tensor
        view : View
        signal : callable
            The signal of the head in another view.
        """
        if self.strength == 0:
            return image
        period = view.fov_mm[self.axis]
        for by_mm in (-period, period):
            image = torch.add(image, signal(view.moved(self.axis, by_mm)), alpha=self.strength)
        return image


@dataclass(frozen=True)
class RandomWrap:
    """A share of the scans is wrapped, along the body or across."""

    share: float = 0.03

    def draw(self, stream: Stream) -> Wrap | None:
        """Draw the wrap of one scan, or none."""
        if not stream.chance(self.share):
            return None
        return Wrap(stream.integer(3), stream.uniform(0.2, 1.0))
