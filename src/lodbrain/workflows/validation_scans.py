"""Synthetic scans of label maps that no level of a model was trained on, to fit and judge what is said of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.synthesis.contrast import Contrasts
from lodbrain.synthesis.generator import Settings, draw_plan, render
from lodbrain.synthesis.labelmaps import LabelMap
from lodbrain.synthesis.steps.fov import RandomFieldOfView

#: Maps that no level was trained on: the last of the twenty.
VALIDATION = ("17", "18", "19", "20")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A scan, and what is in it.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
        In RAS order.
    target : (33, X, Y, Z) float32 tensor
        Share of each class in each voxel.
    spacing_mm : tuple of 3 float
    """

    image: torch.Tensor
    target: torch.Tensor
    spacing_mm: tuple[float, float, float]

    @property
    def classes(self) -> torch.Tensor:
        """(X, Y, Z) uint8: the class with the largest share."""
        return self.target.argmax(0).to(torch.uint8)


def validation_maps(maps: Sequence[str | PathLike[str]] = ()) -> list[Path]:
    """The label maps that are named, or the published ones that are kept for validation.

    Raises
    ------
    InputError
        If none is there.
    """
    return [Path(path) for path in maps] or [p for p in find_labelmaps() if p.name.split(".")[0][-2:] in VALIDATION]


def draw_scan(
    labels: LabelMap,
    random: torch.Generator,
    *,
    voxel_mm: tuple[float, float],
    contrasts: Contrasts | None = None,
) -> Drawn:
    """A scan of a label map, with all that the generator does to scans.

    Parameters
    ----------
    labels : LabelMap
    random : torch.Generator
    voxel_mm : tuple of 2 float
        Range of the voxel sides.
    contrasts : Contrasts, optional
        Default: those of the generator.
    """
    settings = Settings(field_of_view=RandomFieldOfView(voxel_mm=voxel_mm), contrasts=contrasts or Contrasts())
    plan = draw_plan(labels, settings, random)
    image, target = render(plan, labels, plan.scan)
    return Drawn(image, target, plan.scan.spacing_mm)
