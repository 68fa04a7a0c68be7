"""Texture: smooth variation of intensity within a tissue class."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Texture:
    """Multiply the image with 1 + strength x field."""

    field: RandomField
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the textured image."""
        if self.strength == 0:
            return image
        return image * self.field.on(view.grid, image.device).mul_(self.strength).add_(1)


@dataclass(frozen=True)
class RandomTexture:
    """Texture of strength uniform in 0 to `strength` and a lattice distance uniform in `scale_mm`."""

    strength: float = 0.08
    scale_mm: tuple[float, float] = (6.0, 20.0)

    def draw(self, stream: Stream) -> Texture:
        """Sample the texture of one scan."""
        field = RandomField(stream.seed(), stream.uniform(*self.scale_mm))
        return Texture(field, stream.uniform(0.0, self.strength))
