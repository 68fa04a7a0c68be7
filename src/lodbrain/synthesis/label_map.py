"""Label maps for synthesis: codes of intensity classes, target classes, and distance to the brain.

A file holds the numbers of FreeSurfer or of SynthSeg's training maps, with or without sides
(`lodbrain.labels.freesurfer`). They are converted to *raw* labels: the 32 structures and additional labels with an
intensity of their own, such as lesions, hypointensities, choroid plexus, vessels and the tissues outside of the brain.
The generator works on *codes*, positions in `RAW_LABELS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from lodbrain.labels.freesurfer import SYNTHSEG, translate
from lodbrain.labels.numbers import count_numbers, replace_numbers

#: Labels with an intensity of their own, and the structure of each in the target. Lesions (25, 57) and
#: hypointensities (78, 79) are white matter, choroid plexus (136, 163) is ventricle; vessels (30, 62), fifth ventricle
#: (72), chiasm (85) and all tissue outside of the brain (500-530) are background.
TARGET_OF_OTHER = {raw: SYNTHSEG[raw][0] for raw in (25, 57, 78, 79, 136, 137, 163, 164, 30, 62, 72, 85)}
OUTSIDE = tuple(range(500, 531))

#: Every raw label; its position is the generator's code.
RAW_LABELS: tuple[int, ...] = (*(label.index for label in STRUCTURES), *TARGET_OF_OTHER, *OUTSIDE)
CODE_OF_RAW = {raw: code for code, raw in enumerate(RAW_LABELS)}
N_CODES = len(RAW_LABELS)

#: Increased whenever a code changes its meaning, which invalidates cached codes.
#: 2: hypointensities have a left and a right code.
CODES_VERSION = 2

_MIRROR_OF_OTHER = {25: 57, 78: 79, 30: 62, 136: 163, 137: 164}
_MIRROR_OF_OTHER |= {right: left for left, right in _MIRROR_OF_OTHER.items()}

# Labels with the intensity of another label: hypointensities of any kind, FreeSurfer's choroid plexus.
_LOOKS_LIKE = {77: (78, 79), 80: (78, 79), 81: (78, 78), 82: (79, 79), 31: (136, 136), 63: (163, 163)}

#: Raw label, left and right, of each number that a file may hold.
_RAW_OF = {
    number: _LOOKS_LIKE.get(number, (number, number) if number in CODE_OF_RAW else structures)
    for number, structures in SYNTHSEG.items()
}

#: (N_CODES,) int64: network class of each code.
CLASS_OF_CODE = torch.tensor([CLASS_OF_INDEX[SYNTHSEG[raw][0]] for raw in RAW_LABELS])

#: (N_CODES,) int64: code of the same label on the other side.
MIRROR_OF_CODE = torch.tensor(
    [CODE_OF_RAW[label.mirror] for label in STRUCTURES]
    + [CODE_OF_RAW[_MIRROR_OF_OTHER.get(raw, raw)] for raw in RAW_LABELS[len(STRUCTURES) :]]
)

#: Codes of brain tissue and ventricles, which accurate skull-stripping keeps.
BRAIN_CODES = tuple(
    code
    for code, raw in enumerate(RAW_LABELS)
    if raw not in (0, 24) and (raw in CLASS_OF_INDEX or raw in TARGET_OF_OTHER)
)

DISTANCE_STEP_MM = 0.5


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map prepared for sampling: RAS order, cropped to the head, with a border of one background voxel.

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
        Name in messages and training records.
    """

    codes: torch.Tensor
    distance: torch.Tensor
    spacing_mm: torch.Tensor
    brain_box_mm: torch.Tensor
    ventricle_mm: torch.Tensor
    name: str = ""

    def to(self, device: torch.device | str) -> LabelMap:
        """Return the same map with its volumes on another device."""
        return replace(self, codes=self.codes.to(device), distance=self.distance.to(device))


def raw_labels(labels: NDArray[np.integer], affine: NDArray[np.floating], name: str = "label map") -> NDArray[np.int16]:
    """Convert the numbers of a file to raw labels (X, Y, Z) int16, which `RAW_LABELS` lists.

    Parameters
    ----------
    labels : (X, Y, Z) int
        FreeSurfer's or SynthSeg's numbers. A brain without sides is split at its mid-plane.
    affine : (4, 4) float
        Voxel to world (RAS+), mm.

    Raises
    ------
    InputError
        If a number is not in the table, or there is no brain.
    """
    raw = translate(labels, affine, _RAW_OF, path=name)
    if not any(number in CLASS_OF_INDEX and number not in (0, 24) for number in count_numbers(raw)):
        raise InputError(
            "empty-map", name, "no brain structure in the label map", "check that it is a label map of a head"
        )
    return raw


def encode(labels: NDArray[np.integer], affine: NDArray[np.floating], name: str = "label map") -> NDArray[np.uint8]:
    """Return codes (X, Y, Z) uint8 of the numbers of a file; parameters and errors as in `raw_labels`."""
    codes: NDArray[np.uint8] = replace_numbers(raw_labels(labels, affine, name), CODE_OF_RAW, np.uint8)
    return codes


def prepare(image: Image, name: str = "label map") -> LabelMap:
    """Crop a label image to the head, encode it, and compute the distance to the brain.

    The head or brain may lie on any orthogonal grid, in FreeSurfer's or SynthSeg's numbers, with or without sides.

    Raises
    ------
    InputError
        If labels are unknown or there is no brain.
    """
    ras, _ = to_ras(image)
    codes = encode(ras.data, ras.affine, name)
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
    """Read a label map file and `prepare` it."""
    return prepare(read_labels(Path(path)), str(path))
