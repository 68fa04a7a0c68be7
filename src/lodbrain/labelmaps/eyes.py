"""Localisation of the eyes by shape."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.labelmaps.headmask import distance_mm

#: Eyes are balls of 24 to 25 mm diameter filled with fluid, at these distances from the brain and the midline. The
#: centre of the fluid, which excludes lens and walls, is at least `_EYE_CORE_MM` below its surface.
_EYE_RADIUS_MM, _EYE_CORE_MM = 13.5, 6.0
_EYE_FROM_BRAIN_MM, _EYE_FROM_MIDLINE_MM = (3.0, 45.0), (16.0, 48.0)

#: Largest difference of left and right eye in height and depth.
_EYE_OFFSET_MM = 12.0

#: If more than this share of the shell around an eye is fluid, it is a part of a larger structure.
_EYE_LEAK = 0.3

_MOST_CANDIDATES = 60


class _Candidate(NamedTuple):
    """Centre of a possible eye, the mask of its fluid, and the share of fluid in the shell around it."""

    centre: NDArray[np.int64]
    mask: NDArray[np.bool_]
    leak: float


def find_eyes(
    fluid: NDArray[np.bool_], cavity: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> NDArray[np.bool_] | None:
    """Return the eyes: a ball of fluid on either side in front of the brain.

    Parameters
    ----------
    fluid : (X, Y, Z) bool
        Voxels of fluid intensity, in RAS order.
    cavity : (X, Y, Z) bool
        The brain and the CSF around it.
    spacing_mm : (3,) float64

    Returns
    -------
    (X, Y, Z) bool or None
        None unless both eyes are found.
    """
    brain = ndimage.find_objects(cavity.astype(np.uint8))[0]
    margin = np.ceil(_EYE_FROM_BRAIN_MM[1] / spacing_mm).astype(int)
    middle = (brain[0].start + brain[0].stop) / 2
    box = (
        brain[0],
        slice((brain[1].start + brain[1].stop) // 2, brain[1].stop + margin[1]),
        slice(max(0, brain[2].start - margin[2] // 2), brain[2].start + (brain[2].stop - brain[2].start) * 3 // 4),
    )
    nearby_fluid = fluid[box]
    if not nearby_fluid.any():
        return None
    from_brain = distance_mm(cavity, spacing_mm)[box]
    from_middle = (np.arange(box[0].start, box[0].stop) - middle)[:, None, None] * spacing_mm[0]
    lateral = (abs(from_middle) > _EYE_FROM_MIDLINE_MM[0]) & (abs(from_middle) < _EYE_FROM_MIDLINE_MM[1])
    depth = ndimage.distance_transform_edt(nearby_fluid, sampling=spacing_mm)
    peaks = depth == ndimage.maximum_filter(depth, np.maximum(3, np.rint(_EYE_RADIUS_MM / spacing_mm).astype(int)))
    peaks &= (depth > _EYE_CORE_MM) & (depth < _EYE_RADIUS_MM)
    peaks &= lateral & (from_brain > _EYE_FROM_BRAIN_MM[0]) & (from_brain < _EYE_FROM_BRAIN_MM[1])
    candidates = [_candidate(nearby_fluid, centre, spacing_mm) for centre in np.argwhere(peaks)[:_MOST_CANDIDATES]]
    pairs = [
        (left.leak + right.leak, left.mask | right.mask)
        for left, right in itertools.product(candidates, repeat=2)
        if from_middle[left.centre[0], 0, 0] < 0 < from_middle[right.centre[0], 0, 0]
        and (np.abs((left.centre - right.centre) * spacing_mm)[1:] < _EYE_OFFSET_MM).all()
        and max(left.leak, right.leak) < _EYE_LEAK
    ]
    if not pairs:
        return None
    eyes = np.zeros(fluid.shape, bool)
    eyes[box] = min(pairs, key=lambda pair: pair[0])[1]
    return eyes


def _candidate(fluid: NDArray[np.bool_], centre: NDArray[np.int64], spacing_mm: NDArray[np.float64]) -> _Candidate:
    """Return the possible eye around a voxel of fluid."""
    # The deepest voxel may be off-centre; the centroid of the fluid in the first ball is a better centre.
    mask = np.zeros(fluid.shape, bool)
    mask[tuple(centre)] = True
    for _ in range(2):
        middle = np.argwhere(mask).mean(0)
        squares = [((np.arange(n) - c) * mm) ** 2 for n, c, mm in zip(fluid.shape, middle, spacing_mm, strict=True)]
        radius = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        components = cc3d.connected_components(fluid & (radius < _EYE_RADIUS_MM), connectivity=6)
        mask = components == components[tuple(centre)]
    shell = (radius > _EYE_RADIUS_MM) & (radius < 1.3 * _EYE_RADIUS_MM)
    return _Candidate(centre, mask, float(fluid[shell].mean()))
