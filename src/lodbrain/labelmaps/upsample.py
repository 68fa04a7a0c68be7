"""Label maps at another voxel size, with smooth boundaries and preserved volumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.geometry import MAX_VOXEL_MM, MIN_VOXEL_MM
from lodbrain.images.image import Image
from lodbrain.images.layout import MAX_VOXELS
from lodbrain.labelmaps.balance import rebalance
from lodbrain.labelmaps.boundaries import BLOCK_VOXELS, Axis, resample_pass
from lodbrain.labelmaps.label_scores import Kept
from lodbrain.synthesis.label_map import LabelMap

#: Volumes of structures above this size are preserved within `VOLUME_TOLERANCE`.
LEAST_VOLUME_MM3 = 500.0

#: The same for maps without a voxel size, in old voxels.
LEAST_VOXELS = 500

#: Relative difference of volume at which passes end: half of the tolerance.
VOLUME_TOLERANCE = 0.005

#: Two passes as a rule; more where many faces are aligned with the grid.
MAX_PASSES = 6

#: Images with more different values are scans, not label maps.
MAX_LABELS = 256

#: Least share of equal neighbours inside of the labels: 0.8 in label maps of a head, below 0.2 in scans.
_LEAST_FLAT = 0.4

#: Voxel sides that differ by less are equal.
_SAME_SIDE = 1e-4


@dataclass(frozen=True)
class LabelVolume:
    """Volume of one label before and after."""

    index: int
    before_mm3: float
    after_mm3: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """A label map of the input's dtype at another voxel size, and the volume of each label but 0."""

    image: Image
    volumes: tuple[LabelVolume, ...]


def upsample_image(
    image: Image,
    voxel_mm: float,
    *,
    name: str = "label map",
    block_voxels: int = BLOCK_VOXELS,
    progress: Callable[[float, str], None] | None = None,
) -> Resampled:
    """Return a label image at another, isotropic voxel size.

    Parameters
    ----------
    image : Image
        Integer labels in any orientation.
    voxel_mm : float
        The new voxel side. If it equals the old one, data and affine are returned unchanged.
    block_voxels : int
        Size of the blocks; the result does not depend on it.

    Returns
    -------
    Resampled
        The field of view starts at the same outer corner and ends within half a voxel of the old end.

    Raises
    ------
    ValueError
        If the voxel size is not possible.
    InputError
        If the image is not a label map, or the new one would be too large.

    Examples
    --------
    >>> data = np.zeros((10, 10, 10), np.int16)
    >>> data[2:8, 2:8, 2:8] = 17
    >>> fine = upsample_image(Image(data, np.eye(4)), 0.6)
    >>> fine.image.shape, fine.image.affine[0].round(3).tolist(), np.unique(fine.image.data).tolist()
    ((17, 17, 17), [0.6, 0.0, 0.0, -0.2], [0, 17])
    """
    check_voxel_size(voxel_mm)
    indices = check_label_map(image, name)
    axes = new_axes(image, voxel_mm)
    ratios = np.array([axis.ratio for axis in axes])
    codes = np.searchsorted(indices, image.data).astype(np.uint8)
    before = np.bincount(codes.reshape(-1)) * image.voxel_volume_mm3
    if (ratios == 1).all():
        return Resampled(image, _volumes(indices, before, before))
    shape = (axes[0].n_out, axes[1].n_out, axes[2].n_out)
    if math.prod(shape) > MAX_VOXELS:
        what = f"at {voxel_mm:g} mm it would have {' x '.join(map(str, shape))} voxels"
        raise InputError("too-large", name, what, "Choose larger voxels, or crop the map")
    affine = image.affine @ np.diag([*(1 / ratios), 1.0])
    affine[:3, 3] = image.affine[:3, 3] + image.affine[:3, :3] @ ((1 / ratios - 1) / 2)
    least = LEAST_VOLUME_MM3 / voxel_mm**3
    fine, voxels = resample_codes(codes, axes, least_voxels=least, block_voxels=block_voxels, progress=progress)
    resampled = Image(indices.astype(image.data.dtype)[fine], affine, None, image.notes)
    return Resampled(resampled, _volumes(indices, before, voxels * resampled.voxel_volume_mm3))


def check_voxel_size(voxel_mm: float) -> None:
    """Raise ValueError for a voxel size outside of the range for heads."""
    if not (math.isfinite(voxel_mm) and voxel_mm > 0):
        raise ValueError(f"the voxel size must be above 0 mm, got {voxel_mm:g}")
    if not MIN_VOXEL_MM <= voxel_mm <= MAX_VOXEL_MM:
        raise ValueError(f"the voxel size must be {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm, got {voxel_mm:g}")


def check_label_map(image: Image, name: str) -> NDArray[np.integer]:
    """Return the labels of a map, sorted.

    Raises
    ------
    InputError
        If the map is empty, or holds too many or too scattered values to be labels.
    """
    data = image.data
    hint = "Give a label map: one whole number for each structure"
    if data.ndim != 3 or data.dtype.kind not in "iu":
        raise InputError("not-labels", name, f"it holds {data.dtype} of shape {data.shape}, not labels", hint)
    indices: NDArray[np.integer] = np.unique(data)
    if len(indices) > MAX_LABELS:
        raise InputError("not-labels", name, f"it holds {len(indices)} different values: it is no label map", hint)
    if not indices.any():
        raise InputError("empty-map", name, "it holds no label but 0", hint)
    inside = data[:-1] != 0
    equal = float((data[:-1] == data[1:])[inside].mean()) if inside.any() else 1.0
    if len(indices) > 2 and equal < _LEAST_FLAT:
        raise InputError("not-labels", name, f"only {equal:.0%} of its neighbours are equal: it is no label map", hint)
    return indices


def new_axes(image: Image, voxel_mm: float) -> tuple[Axis, Axis, Axis]:
    """Return the axes of an image and of its grid at another voxel size."""
    axes = []
    for count, side in zip(image.shape, image.spacing_mm.tolist(), strict=True):
        ratio = 1.0 if abs(side / voxel_mm - 1) < _SAME_SIDE else side / voxel_mm
        axes.append(Axis(count, max(1, round(count * ratio)), ratio))
    return axes[0], axes[1], axes[2]


def resample_codes(
    codes: NDArray[np.uint8],
    axes: tuple[Axis, Axis, Axis],
    *,
    least_voxels: float,
    block_voxels: int = BLOCK_VOXELS,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return codes on another grid and their voxel counts, by passes over the map until volumes are preserved.

    Parameters
    ----------
    codes : (X, Y, Z) uint8
        0 .. L - 1.
    least_voxels : float
        Least new voxels of a label whose volume is preserved.
    """
    out = np.empty([axis.n_out for axis in axes], np.uint8)
    target = target_voxels(codes, axes)
    bias, kept, threads = np.zeros(len(target), np.float32), Kept(), torch.get_num_threads()
    for number in range(MAX_PASSES):

        def report(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / MAX_PASSES, f"pass {number + 1}")

        tally = resample_pass(
            codes, axes, bias=bias, out=out, block_voxels=block_voxels, kept=kept, threads=threads, progress=report
        )
        off = np.abs(tally.voxels - target) > VOLUME_TOLERANCE * target
        if number == MAX_PASSES - 1 or not (off & (target >= least_voxels)).any():
            break
        bias = rebalance(tally.voxels, tally.margins, target=target, bias=bias)
    return out, tally.voxels


def target_voxels(codes: NDArray[np.uint8], axes: tuple[Axis, Axis, Axis]) -> NDArray[np.float64]:
    """(L,) float64: volumes of the labels in new voxels.

    A new last slice that extends beyond the old grid, or ends before it, counts as thicker or thinner by that much.
    """
    target = np.bincount(codes.reshape(-1)).astype(np.float64)
    for number, axis in enumerate(axes):
        last = np.bincount(codes.take(-1, number).reshape(-1), minlength=len(target))
        target += last * (axis.n_out / axis.ratio - axis.n_in)
    return target * math.prod(axis.ratio for axis in axes)


def upsample_codes(
    codes: torch.Tensor,
    factor: int,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> torch.Tensor:
    """Return codes (X, Y, Z) uint8 on a grid `factor` times as fine along each axis, without new labels."""
    if factor == 1:
        return codes.clone()
    array = codes.numpy()
    present, compact = np.unique(array, return_inverse=True)
    x, y, z = (Axis(n, n * factor, float(factor)) for n in array.shape)
    dense: NDArray[np.uint8] = compact.reshape(array.shape).astype(np.uint8)
    fine, _ = resample_codes(dense, (x, y, z), least_voxels=LEAST_VOXELS * factor**3, progress=progress)
    return torch.from_numpy(present[fine])


def upsample(labels: LabelMap, factor: int, *, progress: Callable[[float, str], None] | None = None) -> LabelMap:
    """Return a `LabelMap` with voxels `factor` times as small; coordinates in mm stay the same."""
    codes = upsample_codes(labels.codes, factor, progress=progress)
    spacing = labels.spacing_mm / factor
    # Skull-stripping works on whole voxels: the distance need not be finer than on the original map.
    distance = labels.distance
    for axis in range(3):
        distance = distance.repeat_interleave(factor, axis)
    return replace(labels, codes=codes, distance=distance, spacing_mm=spacing)


def _volumes(
    indices: NDArray[np.integer], before_mm3: NDArray[np.floating], after_mm3: NDArray[np.floating]
) -> tuple[LabelVolume, ...]:
    rows = zip(indices.tolist(), before_mm3.tolist(), after_mm3.tolist(), strict=True)
    return tuple(LabelVolume(*row) for row in rows if row[0])
