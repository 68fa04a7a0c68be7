"""Completion of brain-only label maps with scalp, skull and CSF of another head's label map, fitted to the brain.

The fit is the linear optimal transport map between two Gaussians that have the means and covariances of the two brains:
it needs no search, matches the size along every axis, and rotates a tilted brain. Residuals of a few mm at the surface
become CSF; the generator deforms every head anyway.

References
----------
Peyré and Cuturi 2019, Computational Optimal Transport, remark 2.31, doi:10.1561/2200000073.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.labelmaps.headmask import closed

CSF = 24

#: Gaps of this size in a brain are closed before the fit.
SULCUS_MM = 8.0

#: Least Dice of the two brains after the fit; below it, one of them is not a whole brain.
LEAST_DICE = 0.85


def surround(brain: Image, head: Image, *, name: str = "label map") -> Image:
    """Surround a brain with the tissue outside of another head's brain.

    Parameters
    ----------
    brain : Image
        Labels (X, Y, Z) int of a brain in FreeSurfer's numbers, with or without CSF (24) around it.
    head : Image
        Labels of a whole head, with tissue outside of the brain (500 to 530).
    name : str
        Name of the brain's map in messages.

    Returns
    -------
    Image
        data (X', Y', Z') int16 in RAS order, on the brain's voxels, wide enough for the head.

    Raises
    ------
    InputError
        If the two brains do not fit.
    """
    inner, outer = to_ras(brain)[0], to_ras(head)[0]
    labels = np.asarray(inner.data).astype(np.int16)
    there = np.asarray(outer.data).astype(np.int16)
    # Sulci are closed, because the folds of two cortices never match.
    ours = closed(_is_brain(labels), SULCUS_MM, inner.spacing_mm)
    theirs = closed(_is_brain(there), SULCUS_MM, outer.spacing_mm)
    matrix, offset = _fit(ours, theirs)
    fitted = _sample(theirs.astype(np.int16), matrix, offset, labels.shape) > 0
    dice = 2 * np.count_nonzero(fitted & ours) / (np.count_nonzero(fitted) + np.count_nonzero(ours))
    if dice < LEAST_DICE:
        what = f"its brain overlaps the fitted brain of the head by a Dice of {dice:.2f} (at least {LEAST_DICE})"
        raise InputError("surround", name, what, "Give label maps of whole brains")

    low, shape = _room(there, matrix, offset, labels.shape)
    around = _sample(there, matrix, offset + matrix @ low, shape)
    around[_is_brain(around)] = CSF
    place = tuple(slice(-a, -a + n) for a, n in zip(low.tolist(), labels.shape, strict=True))
    own = np.zeros(shape, np.int16)
    own[place] = labels
    near = ndimage.binary_dilation(own > 0, ndimage.generate_binary_structure(3, 1))
    around[near] = CSF
    affine = inner.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Image(np.where(own > 0, own, around), affine)


def _is_brain(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    brain: NDArray[np.bool_] = (labels > 0) & (labels != CSF) & (labels < 500)
    return brain


def _fit(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix (3, 3) and offset (3,) from voxels of our grid to voxels of the other head's."""
    means, spreads = [], []
    for mask in (ours, theirs):
        at = np.argwhere(mask)[::7].astype(np.float64)
        means.append(at.mean(0))
        spreads.append(np.cov(at.T))
    a, b = spreads
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    matrix = inverse @ _power(root @ b @ root, 0.5) @ inverse
    return matrix, means[1] - matrix @ means[0]


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return the power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    powered: NDArray[np.float64] = (vectors * values**exponent) @ vectors.T
    return powered


def _sample(
    labels: NDArray[np.int16], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.int16]:
    """Return labels of the nearest voxels to ``matrix @ voxel + offset``; 0 outside of the volume."""
    found: NDArray[np.int16] = ndimage.affine_transform(labels, matrix, offset, shape, order=0)
    return found


def _room(
    there: NDArray[np.int16], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """First voxel, which may be negative, and shape of our grid extended to contain the other head."""
    box = ndimage.find_objects((there > 0).astype(np.uint8))[0]
    corners = np.array(np.meshgrid(*((s.start, s.stop) for s in box), indexing="ij")).reshape(3, -1)
    ours = np.linalg.solve(matrix, corners - offset[:, None])
    low = np.minimum(np.floor(ours.min(1)), 0).astype(np.int64)
    high = np.maximum(np.ceil(ours.max(1)), shape).astype(np.int64)
    x, y, z = (high - low).tolist()
    return low, (x, y, z)
