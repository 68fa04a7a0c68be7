"""Smooth log-bias field fitted by weighted least squares, with its standard deviation and correlation length.

The field is a cubic B-spline as in `lodbrain.synthesis.fields`, so that the generator can use the measured parameters.
Voxels are first averaged in cells of some millimetres, within which such a field hardly changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from lodbrain.contrast_analysis.sampling import Floats

#: Distance of the control points. A finer lattice would fit anatomy, such as cortex against white matter.
LATTICE_MM = 40.0
CELL_MM = 8.0

#: Weight of the bending energy relative to the data of one average cell: anatomy makes an error of about 5% per cell,
#: the field's slope changes by about 15% between control points, (0.05 / 0.15)^2.
STIFFNESS = 0.1

#: Limit of the correction in one step: a larger one is not bias.
LARGEST_STEP = 0.5


@dataclass(frozen=True, eq=False)
class LogField:
    """A log-bias field along the axes of a scan.

    Attributes
    ----------
    control : (L, M, N) float64
        Values at the control points.
    first_mm : (3,) float64
        Position of the first one, from the centre of the scan's first voxel.
    lattice_mm : float
        Distance of the control points.
    """

    control: Floats
    first_mm: Floats
    lattice_mm: float = LATTICE_MM

    def at(self, at_mm: Floats) -> Floats:
        """(N,): log bias at points (N, 3)."""
        index = (at_mm - self.first_mm) / self.lattice_mm
        values: Floats = ndimage.map_coordinates(self.control, index.T, order=3, mode="nearest", prefilter=False)
        return values

    def on(self, shape: tuple[int, ...], spacing_mm: Floats, start: tuple[int, ...] = (0, 0, 0)) -> Floats:
        """(X, Y, Z): log bias on a box of the scan's grid that starts at voxel `start`."""
        x, y, z = (
            spline_weights((np.arange(n) + s) * v - first, self.lattice_mm, count)
            for n, s, v, first, count in zip(shape, start, spacing_mm, self.first_mm, self.control.shape, strict=True)
        )
        return np.asarray(np.einsum("lmn,xl,ym,zn->xyz", self.control, x, y, z, optimize=True))

    def plus(self, constant: float) -> LogField:
        """Return the field plus a constant."""
        return LogField(self.control + constant, self.first_mm, self.lattice_mm)


def spline_weights(at_mm: Floats, lattice_mm: float, count: int) -> Floats:
    """(P, count): weight of each control point at each position; the first control point is at 0."""
    distance = np.abs(at_mm[:, None] / lattice_mm - np.arange(count))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, inner, np.maximum(2 - distance, 0) ** 3 / 6)


class BiasFit:
    """Weighted least squares of a smooth field at given points; matrices that do not change are computed once.

    Parameters
    ----------
    at_mm : (N, 3) float64
        Positions of the samples.

    Attributes
    ----------
    field : LogField
        Present estimate; flat at first.
    values : (N,) float64
        The field at the samples.
    """

    def __init__(self, at_mm: Floats) -> None:
        low, high = at_mm.min(0), at_mm.max(0)
        shape = (np.ceil((high - low) / LATTICE_MM).astype(int) + 3).tolist()
        # centred; one control point beyond the samples at each end
        first = (low + high) / 2 - (np.array(shape) - 1) / 2 * LATTICE_MM
        self.at_mm = at_mm
        self.field = LogField(np.zeros(shape), first)
        self.values = np.zeros(len(at_mm))
        cells, self._cell = np.unique(np.floor(at_mm / CELL_MM), axis=0, return_inverse=True)
        centres = (cells + 0.5) * CELL_MM - first
        x, y, z = (spline_weights(centres[:, axis], LATTICE_MM, shape[axis]) for axis in range(3))
        self._design = np.einsum("cl,cm,cn->clmn", x, y, z).reshape(len(cells), -1)
        self._bending = _bending(shape)

    def improve(self, step: Floats, precision: Floats, weights: Floats) -> None:
        """Add a correction of the field fitted to the samples, and set its mean over them to 0.

        Parameters
        ----------
        step : (N,) float64
            Remaining log bias of each sample.
        precision : (N,) float64
            Inverse of its variance.
        weights : (N,) float64
            Number of voxels that each sample represents.
        """
        target = np.clip(step, -LARGEST_STEP, LARGEST_STEP) + self.values
        cells = len(self._design)
        weight = np.bincount(self._cell, precision * weights, cells)
        mean = np.bincount(self._cell, precision * weights * target, cells) / np.maximum(weight, 1e-12)
        weight = weight / max(weight.mean(), 1e-12)
        weighted = self._design * weight[:, None]
        normal = self._design.T @ weighted + STIFFNESS * self._bending
        control = linalg.cho_solve(linalg.cho_factor(normal), weighted.T @ mean).reshape(self.field.control.shape)
        field = LogField(control, self.field.first_mm)
        values = field.at(self.at_mm)
        mean_over_brain = float(np.average(values, weights=weights))
        self.field, self.values = field.plus(-mean_over_brain), values - mean_over_brain


def _bending(shape: list[int]) -> Floats:
    """Return squared second differences along each axis, plus a small multiple of the squares for invertibility."""
    total = 1e-3 * np.eye(int(np.prod(shape)))
    for axis in range(3):
        second = np.diff(np.eye(shape[axis]), n=2, axis=0)
        parts = [np.eye(n) for n in shape]
        parts[axis] = second.T @ second
        total += np.kron(np.kron(parts[0], parts[1]), parts[2])
    return total


def strength_and_scale(field: LogField, mask: NDArray[np.bool_], spacing_mm: Floats) -> tuple[float, float]:
    """Return the standard deviation of a log field over the brain, and its correlation length in mm.

    The length L is that of a random field with correlation exp(-d^2 / (2 L^2)), for which the variance of the slope is
    the field's variance over L^2. A flat field has the distance of the control points as its length.

    Parameters
    ----------
    mask : (X, Y, Z) bool
        The brain.
    spacing_mm : (3,) float64
    """
    step = np.maximum(np.round(4.0 / spacing_mm), 1).astype(int)
    coarse = mask[:: step[0], :: step[1], :: step[2]]
    spacing = spacing_mm * step
    values = field.on(coarse.shape, spacing)
    strength = float(values[coarse].std())
    squares = [(np.gradient(values, side, axis=axis)[coarse] ** 2).mean() for axis, side in enumerate(spacing.tolist())]
    slope = float(np.mean(squares)) ** 0.5
    return strength, strength / slope if strength > 1e-4 and slope > 0 else field.lattice_mm
