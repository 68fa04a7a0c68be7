"""Label training maps of whole heads: structures of the brain, and tissue classes around it found without a model.

Tissue outside of the brain is classified by intensity (dark, medium, bright, from a k-means of intensities after
bias correction) and by geometry (depth under the skin, distance to the brain cavity):

==========  ===============================  ========================================
intensity   near the brain cavity            elsewhere
==========  ===============================  ========================================
dark        bone                             air; skin where it is shallow
medium      soft tissue                      soft tissue; skin where it is shallow
bright      marrow, where it is nearer to    fat under the skin, as skin; deep fat, as
            the cavity than to the skin      marrow
==========  ===============================  ========================================

Approximate classes suffice: the generator gives each class random intensities, whatever the tissue is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.labelmaps.eyes import find_eyes
from lodbrain.labelmaps.headmask import closed, distance_mm, head_mask, local_level
from lodbrain.labels import STRUCTURES, Label
from lodbrain.labels.structures import CSF
from lodbrain.synthesis.label_map import raw_labels

AIR, EYE, SOFT, SKIN, BONE, MARROW = 502, 506, 507, 511, 515, 516

#: Classes outside of the brain, with the numbers of about the same tissue in SynthSeg's maps.
OUTSIDE_LABELS = (
    Label(AIR, "Air-In-Head", (90, 130, 180), mirror=AIR),
    Label(EYE, "Eyes", (70, 210, 200), mirror=EYE),
    Label(SOFT, "Soft-Tissue", (190, 90, 70), mirror=SOFT),
    Label(SKIN, "Skin-And-Fat-Under-It", (225, 180, 145), mirror=SKIN),
    Label(BONE, "Bone", (235, 225, 170), mirror=BONE),
    Label(MARROW, "Marrow-And-Deep-Fat", (250, 210, 60), mirror=MARROW),
)

#: Structures inside of the brain with an intensity of their own, if the segmentation has them; names and colours are
#: FreeSurfer's.
INSIDE_LABELS = (
    Label(25, "Left-Lesion", (255, 165, 0), "left", 57),
    Label(30, "Left-vessel", (160, 32, 240), "left", 62),
    Label(57, "Right-Lesion", (255, 165, 0), "right", 25),
    Label(62, "Right-vessel", (160, 32, 240), "right", 30),
    Label(72, "5th-Ventricle", (120, 190, 150), mirror=72),
    Label(78, "Left-WM-hypointensities", (255, 148, 10), "left", 79),
    Label(79, "Right-WM-hypointensities", (255, 148, 10), "right", 78),
    Label(85, "Optic-Chiasm", (234, 169, 30), mirror=85),
    Label(136, "Left-choroid-plexus", (0, 200, 200), "left", 163),
    Label(137, "Left-choroid-plexus-inferior", (0, 200, 200), "left", 164),
    Label(163, "Right-choroid-plexus", (0, 200, 221), "right", 136),
    Label(164, "Right-choroid-plexus-inferior", (0, 200, 221), "right", 137),
)

#: All labels of a created map, in the order of their numbers.
HEAD_LABELS = tuple(sorted((*STRUCTURES, *INSIDE_LABELS, *OUTSIDE_LABELS), key=lambda label: label.index))

#: Gaps of this size between parts of the brain are filled with CSF.
_CAVITY_MM = 8.0

#: The scan is skull-stripped if it has less tissue than this share of the brain's volume farther than `_RIM_MM` away.
_STRIPPED_SHARE, _RIM_MM = 0.15, 6.0

_SKIN_MM, _BONE_MM, _FAT_MM = 3.0, 15.0, 12.0
_SHADING_MM = 25.0
_SMOOTHING_MM = 0.9

#: Fluid is brighter than this share of the brain's intensity; air is not.
_FLUID_SHARE = 0.03


@dataclass(frozen=True, eq=False)
class HeadMap:
    """A label map (X, Y, Z) int16 on the scan's grid: structures, and 502 to 516 outside of the brain."""

    labels: NDArray[np.int16]
    notes: tuple[str, ...] = ()


def make_head_map(scan: Image, structures: NDArray[np.integer], *, name: str = "segmentation") -> HeadMap:
    """Return a label training map from a scan and a segmentation of its brain.

    Parameters
    ----------
    scan : Image
        A head, or a skull-stripped brain.
    structures : (X, Y, Z) int
        FreeSurfer's labels on the scan's grid, as `lodbrain.labels.freesurfer` lists them.
    name : str
        Name of the segmentation in messages.

    Raises
    ------
    ValueError
        If the two grids differ.
    InputError
        If the segmentation has unknown labels, has no brain, or has left and right exchanged.
    """
    if structures.shape != scan.shape:
        raise ValueError(f"structures must be on the scan's grid {scan.shape}, got {structures.shape}")
    ras, turned = to_ras(scan)
    spacing = ras.spacing_mm
    brain_labels = raw_labels(turned.apply(structures), ras.affine, name)
    check_sides(brain_labels, name)
    brain = (brain_labels > 0) & (brain_labels != CSF)
    data = np.ascontiguousarray(ras.data, np.float32)
    head, values = head_mask(data, brain | (brain_labels == CSF), spacing)
    cavity = closed(brain | (brain_labels == CSF), _CAVITY_MM, spacing)
    notes: list[str] = []
    beyond = head & (distance_mm(cavity, spacing) > _RIM_MM)
    labels = np.zeros(brain.shape, np.int16)
    if np.count_nonzero(beyond) < _STRIPPED_SHARE * np.count_nonzero(brain):
        notes.append("The scan is skull-stripped: the map holds the brain and a rim of CSF only.")
        labels[data > 0] = CSF
        labels[~head] = 0
    else:
        shading = local_level(values, head & (values > 0.3), spacing, sigma_mm=_SHADING_MM)
        flat = values / np.maximum(shading, 0.1)
        outside = head & ~cavity
        low, high = thresholds(flat[outside])
        dark, bright = flat < low, flat > high
        labels[outside] = _classes(dark, bright, head, cavity, spacing)[outside]
        eyes = None
        for fluid in (dark & (values > _FLUID_SHARE), bright):
            eyes = find_eyes(fluid & outside, cavity, spacing) if eyes is None else eyes
        if eyes is None:
            notes.append("No eyes were found.")
        else:
            labels[eyes] = EYE
        labels[cavity & head] = CSF
    labels[brain] = brain_labels[brain]
    return HeadMap(np.ascontiguousarray(turned.undo(labels)), tuple(notes))


def check_sides(labels: NDArray[np.integer], name: str) -> None:
    """Raise InputError if left structures of a segmentation (X, Y, Z) in RAS order lie on the right."""
    sides = {
        side: np.isin(labels, [label.index for label in STRUCTURES if label.side == side]) for side in ("left", "right")
    }
    if not all(mask.any() for mask in sides.values()):
        return
    across = np.arange(labels.shape[0])
    left, right = (np.average(across, weights=sides[side].sum((1, 2))) for side in ("left", "right"))
    if left >= right:
        raise InputError("sides", name, "its left structures lie on the right", "Check its orientation")


def _classes(
    dark: NDArray[np.bool_],
    bright: NDArray[np.bool_],
    head: NDArray[np.bool_],
    cavity: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
) -> NDArray[np.int16]:
    """Return labels of everything in the head outside of the brain cavity."""
    depth, gap = distance_mm(~head, spacing_mm), distance_mm(cavity, spacing_mm)
    labels = np.where(depth < _SKIN_MM, SKIN, SOFT).astype(np.int16)
    labels[bright] = np.where((gap < depth) | (depth > _FAT_MM), MARROW, SKIN)[bright]
    labels[dark & (depth >= _SKIN_MM)] = AIR
    labels[dark & (gap < _BONE_MM) & ((depth >= _SKIN_MM) | (gap < depth))] = BONE
    # Isolated voxels take the label of their surroundings.
    outside = head & ~cavity
    best = np.zeros(labels.shape, np.float32)
    smooth = labels.copy()
    for index in (AIR, SOFT, SKIN, BONE, MARROW):
        share = ndimage.gaussian_filter(
            ((labels == index) & outside).astype(np.float32), _SMOOTHING_MM / spacing_mm, truncate=2.5
        )
        wins = share > best
        best[wins], smooth[wins] = share[wins], index
    return smooth


def thresholds(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return two thresholds (dark to medium, medium to bright) of values (N,) from a k-means of three classes."""
    values = np.sort(values[:: max(1, values.size // 200_000)])
    values = np.minimum(values, np.percentile(values, 99))
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means = np.percentile(values, [10, 50, 90])
    for _ in range(100):
        cuts = np.concatenate([[0], np.searchsorted(values, (means[:-1] + means[1:]) / 2), [values.size]])
        counts = np.diff(cuts)
        new = np.where(counts > 0, np.diff(sums[cuts]) / np.maximum(counts, 1), means)
        if np.allclose(new, means):
            break
        means = new
    low, high = ((means[:-1] + means[1:]) / 2).tolist()
    return low, high
