"""Texture: smooth variation of intensity within a tissue class."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Texture:
    """Multiply the image with 1 + strength x field.

    Myelin, iron and water, on which the relaxation times depend, vary within a tissue over some millimetres.

    References
    ----------
    Callaghan et al. 2015, doi:10.1002/mrm.25210 (R1 depends on macromolecules, iron and water).
    """

    field: RandomField
    strength: float

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the textured image."""
        if self.strength == 0:
            return image
        return image * self.field.on(view.grid, image.device).mul_(self.strength).add_(1)


@dataclass(frozen=True)
class RandomTexture:
    """Texture of strength uniform in 0 to `strength` and a lattice distance uniform in `scale_mm`.

    Examples
    --------
    >>> texture = RandomTexture(strength=0.08).draw(Stream(1, "texture"))
    >>> 0 <= texture.strength <= 0.08, 6 <= texture.field.lattice_mm <= 20
    (True, True)
    """

    strength: float = 0.08
    scale_mm: tuple[float, float] = (6.0, 20.0)

    def draw(self, stream: Stream) -> Texture:
        """Sample the texture of one scan."""
        field = RandomField(stream.seed(), stream.uniform(*self.scale_mm))
        return Texture(field, stream.uniform(0.0, self.strength))
