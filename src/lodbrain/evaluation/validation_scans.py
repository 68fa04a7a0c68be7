"""Synthetic scans from label maps reserved for validation, to fit and evaluate quality scores and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.synthesis.generator import GeneratorSettings, draw_plan, render
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.steps.fov import RandomFieldOfView

#: Maps that no level was trained on: the last of the twenty.
VALIDATION = ("17", "18", "19", "20")
#: Contrasts that a model is made for: T1w scans, or any.
Kind = Literal["t1w", "any"]


@dataclass(frozen=True, eq=False)
class ValidationScan:
    """A generated scan in RAS order and its truth.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
    classes : (X, Y, Z) uint8 tensor
        Class with the largest share of each voxel.
    volume_vox : (33,) float64
        Sum of the shares of each class, in voxels.
    """

    image: torch.Tensor
    classes: torch.Tensor
    volume_vox: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]


def validation_maps(maps: Sequence[str | PathLike[str]] = ()) -> list[Path]:
    """Return the given label maps, or the published ones that are reserved for validation.

    Raises
    ------
    InputError
        If none is found.
    """
    return [Path(path) for path in maps] or [p for p in find_labelmaps() if p.name.split(".")[0][-2:] in VALIDATION]


def draw_scan(
    labels: LabelMap,
    random: torch.Generator,
    *,
    voxel_mm: tuple[float, float],
    contrasts: Contrasts | None = None,
) -> ValidationScan:
    """Generate a scan of a label map with all effects of the generator, of voxel sides in a range."""
    settings = GeneratorSettings(field_of_view=RandomFieldOfView(voxel_mm=voxel_mm), contrasts=contrasts or Contrasts())
    plan = draw_plan(labels, settings, random)
    image, target = render(plan, labels, plan.scan)
    # The shares take 33 times the memory of the image, so they are not kept.
    sums = np.array([float(share.sum(dtype=torch.float64)) for share in target])
    return ValidationScan(image, target.argmax(0).to(torch.uint8), sums, plan.scan.spacing_mm)
