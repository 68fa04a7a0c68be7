"""Label maps to draw synthetic scans from: what each label becomes as a target, and what it looks like.

A label map holds *raw* labels: the 32 structures and, beyond them, lesions, choroid plexus, vessels and the tissues
outside of the brain, as in SynthSeg's training maps. The generator works on *codes*, positions in `RAW_LABELS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.labels import CLASS_OF_INDEX, STRUCTURES

#: What a label that is not a structure counts as in the target. Lesions are white matter, choroid plexus is ventricle;
#: vessels (30, 62), fifth ventricle (72), chiasm (85) and all tissue outside of the brain (500-530) are background.
TARGET_OF_OTHER = {25: 2, 57: 41, 77: 2, 80: 0, 136: 4, 137: 5, 163: 43, 164: 44, 30: 0, 62: 0, 72: 0, 85: 0}
OUTSIDE = tuple(range(500, 531))

#: Every raw label that a map may hold; the position is the generator's code.
RAW_LABELS: tuple[int, ...] = (*(label.index for label in STRUCTURES), *TARGET_OF_OTHER, *OUTSIDE)
CODE_OF_RAW = {raw: code for code, raw in enumerate(RAW_LABELS)}
N_CODES = len(RAW_LABELS)

_MIRROR_OF_OTHER = {25: 57, 57: 25, 30: 62, 62: 30, 136: 163, 163: 136, 137: 164, 164: 137}

#: (N_CODES,) int64: network class of each code.
CLASS_OF_CODE = torch.tensor(
    [CLASS_OF_INDEX[raw if raw in CLASS_OF_INDEX else TARGET_OF_OTHER.get(raw, 0)] for raw in RAW_LABELS]
)

#: (N_CODES,) int64: code of the same label on the other side.
MIRROR_OF_CODE = torch.tensor(
    [CODE_OF_RAW[label.mirror] for label in STRUCTURES]
    + [CODE_OF_RAW[_MIRROR_OF_OTHER.get(raw, raw)] for raw in RAW_LABELS[len(STRUCTURES) :]]
)

#: Codes of brain tissue and ventricles: what skull-stripping keeps for certain.
BRAIN_CODES = tuple(
    code
    for code, raw in enumerate(RAW_LABELS)
    if raw not in (0, 24) and (raw in CLASS_OF_INDEX or raw in TARGET_OF_OTHER)
)

DISTANCE_STEP_MM = 0.5


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map ready for sampling, in RAS order, cropped to the head, with one voxel of background around it.

    Attributes
    ----------
    codes : (X, Y, Z) uint8 tensor
        Positions in `RAW_LABELS`.
    distance : (X, Y, Z) uint8 tensor
        Distance to the brain (`BRAIN_CODES`) in steps of `DISTANCE_STEP_MM`, saturated at 255.
    spacing_mm : (3,) float64 tensor
        Voxel size.
    brain_box_mm : (2, 3) float64 tensor
        Lowest and highest corner of the brain, measured from the outer corner of voxel (0, 0, 0).
    ventricle_mm : (3,) float64 tensor
        Centre of the lateral ventricles, in the same coordinates (the brain's centre where there are none).
    name : str
        For messages and training records.
    """

    codes: torch.Tensor
    distance: torch.Tensor
    spacing_mm: torch.Tensor
    brain_box_mm: torch.Tensor
    ventricle_mm: torch.Tensor
    name: str = ""

    def to(self, device: torch.device | str) -> LabelMap:
        """The same map with its volumes on another device."""
        return LabelMap(
            self.codes.to(device),
            self.distance.to(device),
            self.spacing_mm,
            self.brain_box_mm,
            self.ventricle_mm,
            self.name,
        )


def encode(raw: NDArray[np.integer], name: str = "label map") -> NDArray[np.uint8]:
    """Turn raw labels into codes.

    Parameters
    ----------
    raw : (X, Y, Z) int
        Labels of `RAW_LABELS`.

    Returns
    -------
    (X, Y, Z) uint8

    Raises
    ------
    InputError
        If a label is not in the table, or there is no brain.
    """
    present = np.unique(raw)
    unknown = sorted(set(present.tolist()) - set(RAW_LABELS))
    if unknown:
        raise InputError(
            "labels", name, f"labels that are not in the table: {unknown[:8]}", "map them to FreeSurfer's first"
        )
    if not any(value in CLASS_OF_INDEX and value not in (0, 24) for value in present.tolist()):
        raise InputError(
            "empty-map", name, "no brain structure in the label map", "check that it is a label map of a head"
        )
    table = np.zeros(max(RAW_LABELS) + 1, np.uint8)
    table[list(RAW_LABELS)] = np.arange(N_CODES, dtype=np.uint8)
    codes: NDArray[np.uint8] = table[raw]
    return codes


def prepare(image: Image, name: str = "label map") -> LabelMap:
    """Crop a label image to the head, encode it, and measure the distance to the brain.

    Parameters
    ----------
    image : Image
        Integer labels on any orthogonal grid.
    name : str
        For messages.

    Raises
    ------
    InputError
        If labels are unknown or there is no brain.
    """
    ras, _ = to_ras(image)
    codes = encode(np.asarray(ras.data).astype(np.int64), name)
    spacing = np.asarray(ras.spacing_mm)
    box = ndimage.find_objects((codes > 0).astype(np.uint8))[0]
    codes = np.pad(codes[box], 1)
    brain = np.isin(codes, BRAIN_CODES)
    distance = ndimage.distance_transform_edt(~brain, sampling=spacing) / DISTANCE_STEP_MM
    corners = np.argwhere(brain)
    ventricles = np.isin(codes, [CODE_OF_RAW[4], CODE_OF_RAW[43]])
    centre = np.argwhere(ventricles if ventricles.any() else brain).mean(0) + 0.5
    return LabelMap(
        codes=torch.from_numpy(np.ascontiguousarray(codes)),
        distance=torch.from_numpy(np.minimum(np.ceil(distance), 255).astype(np.uint8)),
        spacing_mm=torch.from_numpy(spacing.astype(np.float64)),
        brain_box_mm=torch.from_numpy(np.stack([corners.min(0), corners.max(0) + 1]) * spacing),
        ventricle_mm=torch.from_numpy(centre * spacing),
        name=name,
    )


def load(path: str | Path) -> LabelMap:
    """Read and `prepare` a label map file."""
    return prepare(read_labels(Path(path)), str(path))
