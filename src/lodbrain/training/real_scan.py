"""A real scan with a hard or soft target, on its working grid in RAS order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelled import Labelled
from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image, read_labels
from lodbrain.images.scan_labels import classes_of
from lodbrain.inference.pyramid import WorkingGrid, pool, resample, working_grid
from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.fields import Grid

#: Largest ratio of voxel sides of a scan that is used; it is resampled.
LARGEST_RATIO = 1.4


@dataclass(frozen=True, eq=False)
class RealScan:
    """A scan with its target, on its working grid, in RAS order.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
    best, second : (X, Y, Z) uint8 tensors
        Likeliest and second-likeliest class; equal where labels are hard.
    probability : (X, Y, Z) uint8 tensor
        Probability of the likeliest, times 255.
    """

    image: torch.Tensor
    best: torch.Tensor
    second: torch.Tensor
    probability: torch.Tensor

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> RealScan:
        """Apply a function to each of the volumes."""
        return RealScan(*(function(t) for t in (self.image, self.best, self.second, self.probability)))

    def cut(self, box: tuple[slice, ...]) -> RealScan:
        """Return the part in a box."""
        return self.map(lambda volume: volume[box])

    @property
    def nbytes(self) -> int:
        """Size of the volumes in bytes."""
        return sum(t.numel() * t.element_size() for t in (self.image, self.best, self.second, self.probability))


def grid_of(scan: Labelled) -> tuple[Grid, int]:
    """Return the scan's working grid in RAS order, centred on the origin, and the exponent of its voxel size."""
    image, _ = to_ras(read_image(scan.volume))
    a, b, c = image.spacing_mm.tolist()
    if max(a, b, c) / min(a, b, c) > LARGEST_RATIO:
        what = f"has voxels of {a:.2g} x {b:.2g} x {c:.2g} mm: training takes sides that differ by up to 40%"
        raise InputError("thick-slices", scan.volume, what, "Leave it out: its slices show less than the voxels say")
    x, y, z = image.shape
    grid = working_grid((x, y, z), (a, b, c), 0.0)
    corner = tuple(-n * v / 2 for n, v in zip(grid.shape, grid.spacing_mm, strict=True))
    return Grid(grid.shape, grid.spacing_mm, (corner[0], corner[1], corner[2])), round(math.log2(grid.voxel_mm))


def read_scan(scan: Labelled, grid: Grid) -> RealScan:
    """Read a scan, with an intensity offset that makes black 0 for bias and gamma, and its target."""
    image = read_image(scan.volume)
    ras, reorientation = to_ras(image)
    data = from_black(np.ascontiguousarray(ras.data, np.float32))

    def classes(path: Path) -> NDArray[np.uint8]:
        return np.ascontiguousarray(reorientation.apply(classes_of(read_labels(path), image, path)))

    best = classes(scan.labels)
    second, probability = best, np.full(best.shape, 255, np.uint8)
    if scan.soft is not None:
        second = classes(scan.soft[0])
        share = reorientation.apply(read_image(scan.soft[1]).data)
        probability = np.ascontiguousarray(np.rint(255 * share).astype(np.uint8))
    case = RealScan(*(torch.from_numpy(volume) for volume in (data, best, second, probability)))
    a, b, c = ras.spacing_mm.tolist()
    x, y, z = data.shape
    return case if (x, y, z) == grid.shape else _resampled(case, working_grid((x, y, z), (a, b, c), 0.0), (a, b, c))


def _resampled(case: RealScan, to: WorkingGrid, spacing_mm: tuple[float, float, float]) -> RealScan:
    """Resample a scan to another grid: intensities and shares of classes are interpolated linearly."""
    x, y, z = case.image.shape
    own = WorkingGrid((x, y, z), spacing_mm, True)
    matrices = [to.matrix_from(own, axis) for axis in range(3)]
    best, second = (torch.zeros(to.shape, dtype=torch.uint8) for _ in range(2))
    most, next_most, rest = torch.zeros(to.shape), torch.zeros(to.shape), torch.ones(to.shape)

    def rank(each: int, share: torch.Tensor, box: tuple[slice, ...]) -> None:
        above, runner_up = share > most[box], share > next_most[box]
        second[box] = torch.where(above, best[box], second[box].masked_fill(runner_up, each))
        next_most[box] = torch.where(above, most[box], torch.maximum(share, next_most[box]))
        best[box] = best[box].masked_fill(above, each)
        most[box] = torch.maximum(share, most[box])

    for each, filled in _boxes_of_classes(case).items():
        share, box = _share(case.cut(filled), each), list[slice]()
        for axis in (2, 1, 0):  # the last axis first: the fewest strided passes
            matrix = matrices[axis][:, filled[axis]]
            rows = matrix.any(1).nonzero().flatten()
            box.insert(0, slice(int(rows[0]), int(rows[-1]) + 1))
            share = torch.tensordot(matrix[box[0]], share, dims=([1], [axis])).movedim(0, axis)
        rank(each, share, tuple(box))
        rest[tuple(box)] -= share
    rank(0, rest, (slice(None),) * 3)
    probability = (255 * most / (most + next_most)).round().to(torch.uint8)
    return RealScan(resample(case.image.numpy(), own, to), best, second, probability)


def _boxes_of_classes(case: RealScan) -> dict[int, tuple[slice, ...]]:
    """Return the box of each class but background: where it is the likeliest or the second-likeliest."""
    boxes: dict[int, tuple[slice, ...]] = {}
    for volume in (case.best, case.second):
        for each, box in enumerate(ndimage.find_objects(volume.cpu().numpy()), 1):
            if box is not None:
                pairs = zip(box, boxes.get(each, box), strict=True)
                boxes[each] = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)
    return boxes


def _share(case: RealScan, each: int) -> torch.Tensor:
    """(X, Y, Z) float32: share of one class in each voxel."""
    p = case.probability / 255
    return torch.where(case.best == each, p, 0.0) + torch.where(case.second == each, 1 - p, 0.0)


def shares(case: RealScan, window: tuple[slice, ...], halvings: int) -> torch.Tensor:
    """(33, X, Y, Z): share of each class in the voxels of a window, pooled from the scan's own voxels."""
    size = 2**halvings
    fine = tuple(slice(w.start * size, w.stop * size) for w in window)
    part = case.cut(fine)
    target = torch.zeros((N_CLASSES, *(w.stop - w.start for w in window)), device=part.best.device)
    # One class at a time in its own box: all at once would take 33 times the scan, and most are small.
    for each, box in _boxes_of_classes(part).items():
        coarse = tuple(slice(b.start // size, -(-b.stop // size)) for b in box)
        inner = tuple(slice(c.start * size, c.stop * size) for c in coarse)
        share = _share(part.cut(inner), each)
        for _ in range(halvings):
            share = pool(share)
        target[each][coarse] = share
    target[0] = 1 - target[1:].sum(0)
    return target
