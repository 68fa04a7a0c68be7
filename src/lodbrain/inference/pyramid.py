"""Image pyramid: the working grid of a scan, resampling to it, and average pooling by 2 for each coarser level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lodbrain.inference.tiling import Box

#: Up to this ratio of voxel sides a scan is not resampled; the networks are trained on sides that differ by up to 15%
#: from their mean.
LARGEST_RATIO = 1.2
#: Voxels that a scan of unequal sides is resampled to are no larger.
COARSEST_RESAMPLED_MM = 1.0
#: Voxels of the scan that are resampled at once.
RESAMPLED_VOXELS = 4_000_000


@dataclass(frozen=True)
class WorkingGrid:
    """Grid that the finest level runs on, with the same corner as the scan's own grid.

    Attributes
    ----------
    native : bool
        Whether it is the scan's own grid.
    note : str
        How the grid differs from the scan's, and why; empty if native.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    native: bool
    note: str = ""

    @property
    def voxel_mm(self) -> float:
        """Side of a cube that has the voxel's volume."""
        return math.prod(self.spacing_mm) ** (1 / 3)

    def matrix_from(self, other: WorkingGrid, axis: int) -> torch.Tensor:
        """Return `interpolation_matrix` along an axis from another grid with the same corner."""
        return interpolation_matrix(self.shape[axis], self.spacing_mm[axis], other.shape[axis], other.spacing_mm[axis])

    def inside(self, other: WorkingGrid, box: Box) -> tuple[list[torch.Tensor], list[slice]] | None:
        """Return, by axis, the matrices from a box of another grid to the voxels inside of it, and where these are.

        None if the box is thinner than a voxel.
        """
        matrices, spans = [], []
        for axis, (start, stop) in enumerate(box):
            matrix = self.matrix_from(other, axis)[:, start:stop]
            within = (matrix.sum(1) > 0.999).nonzero().flatten()
            if not len(within):
                return None
            spans.append(slice(int(within[0]), int(within[-1]) + 1))
            matrices.append(matrix[spans[-1]])
        return matrices, spans


def working_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], finest_mm: float) -> WorkingGrid:
    """Return the grid that the finest level runs on.

    Parameters
    ----------
    finest_mm : float
        Smallest voxel that the model's finest level was trained for.
    """
    small, large = min(spacing_mm), max(spacing_mm)
    mean = math.prod(spacing_mm) ** (1 / 3)
    if large / small <= LARGEST_RATIO and mean >= finest_mm:
        return WorkingGrid(shape, spacing_mm, True)
    if large / small <= LARGEST_RATIO:
        factor = 2 ** math.ceil(math.log2(finest_mm / mean))
        x, y, z = (-(-n // factor) for n in shape)
        a, b, c = (v * factor for v in spacing_mm)
        return WorkingGrid(
            (x, y, z),
            (a, b, c),
            False,
            f"worked at {mean * factor:.2f} mm, {factor} times the scan's voxel: finer than the model",
        )
    voxel = max(small, min(COARSEST_RESAMPLED_MM, mean), finest_mm)
    x, y, z = (max(1, math.ceil(n * v / voxel - 0.01)) for n, v in zip(shape, spacing_mm, strict=True))
    sides = " x ".join(f"{v:.2f}" for v in spacing_mm)
    return WorkingGrid(
        (x, y, z),
        (voxel, voxel, voxel),
        False,
        f"resampled from {sides} mm to {voxel:.2f} mm isotropic: sides differ by more than 20%",
    )


def interpolation_matrix(n_to: int, v_to: float, n_from: int, v_from: float) -> torch.Tensor:
    """Return the matrix (n_to, n_from) float32 of linear interpolation between two axes with a common start.

    If voxels get larger, the triangular kernel widens with them to prevent aliasing. Rows sum to 1.
    """
    at = (torch.arange(n_to, dtype=torch.float32) + 0.5) * (v_to / v_from) - 0.5
    width = max(1.0, v_to / v_from)
    weights = (1 - (at.clamp(0, n_from - 1)[:, None] - torch.arange(n_from, dtype=torch.float32)).abs() / width).clamp(
        min=0
    )
    return weights / weights.sum(1, keepdim=True)


def resample(data: NDArray[np.float32], grid_from: WorkingGrid, grid_to: WorkingGrid) -> torch.Tensor:
    """Return a float32 array (X, Y, Z) resampled to another grid with the same corner.

    `interpolation_matrix` is applied along each axis, in slabs along the axis that varies slowest in memory, so that an
    array of any strides is not copied as a whole.
    """
    order = sorted(range(3), key=lambda axis: -abs(data.strides[axis]))
    slowest, *others = (grid_to.matrix_from(grid_from, axis) for axis in order)
    source, out = data.transpose(order), torch.empty([grid_to.shape[axis] for axis in order])
    voxels_per_row = max(1.0, len(slowest.T) / len(slowest)) * math.prod(source.shape[1:])
    for start in range(0, len(out), rows := max(1, int(RESAMPLED_VOXELS / voxels_per_row))):
        weights = slowest[start : start + rows]
        used = weights.any(0).nonzero().flatten()
        near = slice(int(used[0]), int(used[-1]) + 1)
        slab = torch.tensordot(weights[:, near], torch.from_numpy(np.ascontiguousarray(source[near])), dims=1)
        out[start : start + rows] = others[0] @ slab @ others[1].T
    return out.permute([order.index(axis) for axis in range(3)]).contiguous()


def pool(volume: torch.Tensor) -> torch.Tensor:
    """Return the means of 2 x 2 x 2 voxels of a volume (X, Y, Z); sides are rounded up, without padding in the mean."""
    return F.avg_pool3d(volume[None, None], 2, ceil_mode=True, count_include_pad=False)[0, 0]


def pad_to(volume: torch.Tensor, multiple: int) -> torch.Tensor:
    """Return the volume padded with zeros at the end of its last three axes, to a multiple."""
    pad = [amount for n in reversed(volume.shape[-3:]) for amount in (0, -n % multiple)]
    return F.pad(volume, pad) if any(pad) else volume
