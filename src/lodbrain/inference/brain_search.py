"""Preparation of a scan's images, and the search for the brain at the coarsest level."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lodbrain.errors import InputError
from lodbrain.images.black_background import blacken_background
from lodbrain.images.intensity import brain_scaling, foreground_scaling
from lodbrain.inference.budget import MOST_TILE_BYTES, MemoryPlan, check, make_plan
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import WorkingGrid, pool, resample, working_grid
from lodbrain.inference.tiled_levels import BoxOutput, Run
from lodbrain.inference.tiling import Box
from lodbrain.inference.workload import Work
from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.models.consensus import ladder_in
from lodbrain.models.folded import FoldedLevel
from lodbrain.models.lod import Ladder

#: Smallest voxel that the finest level runs on, relative to its nominal size: it is trained from 0.6 on.
FINEST_SHARE = 0.55
#: From here on the coarsest level's posterior of all structures but CSF makes a voxel brain.
LEAST_POSTERIOR = 0.5
#: Brains of living people, with room: outside of it the whole volume is used.
PLAUSIBLE_ML = (500.0, 2500.0)
#: Below this coarse brain volume the scan is rejected as showing no brain.
LEAST_ML = 60.0
_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0


def grids(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], network: Ladder
) -> tuple[WorkingGrid, WorkingGrid]:
    """Return a scan's own grid, and the grid that a ladder runs on."""
    x, y, z = shape
    finest_mm = FINEST_SHARE * 2.0 ** network.configs[-1].exponent
    return WorkingGrid((x, y, z), spacing_mm, True), working_grid((x, y, z), spacing_mm, finest_mm)


def plan_tiles(work: Work, options: Options, brain: Box | None = None) -> MemoryPlan:
    """Return a plan within the budget. A GPU's memory holds images and tiles only: a tile gets four tenths of it."""
    if options.memory_bytes is None or options.tile_voxels is not None or options.device != "cpu":
        share = math.inf if options.memory_bytes is None else max(1e8, 0.4 * options.memory_bytes)
        return make_plan(
            work,
            room=math.inf,
            brain=brain,
            tile_voxels=options.tile_voxels,
            tile_bytes=min(share, MOST_TILE_BYTES),
        )
    return check(work, allowed_bytes=options.memory_bytes, base_bytes=options.base_bytes, brain=brain)


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A scan on the grid that a network runs on. Whoever made it needs the scan's own voxels no longer.

    Attributes
    ----------
    volume : (X, Y, Z) float32
        Intensities in RAS order on `grid`, with a black background; of a ladder, contiguous.
    scan, grid : WorkingGrid
        The scan's own grid, and that of `volume`, with the same corner.
    notes : tuple of str
        Deviations from the standard processing, and their reasons.
    """

    volume: NDArray[np.float32]
    scan: WorkingGrid
    grid: WorkingGrid
    notes: tuple[str, ...] = ()


def network_input(
    data: NDArray[np.float32], spacing_mm: tuple[float, float, float], network: nn.Module
) -> NetworkInput:
    """Return a scan as a network sees it; all but ladders run on the scan's own grid.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Finite intensities in RAS order.
    spacing_mm : (3,) float
        Voxel sides.
    """
    x, y, z = data.shape
    data, note = blacken_background(data)
    ladder = ladder_in(network)
    if ladder is None:
        own = WorkingGrid((x, y, z), spacing_mm, True)
        return NetworkInput(data, own, own, (note,) if note else ())
    scan, grid = grids(data.shape, spacing_mm, ladder)
    volume = np.ascontiguousarray(data) if grid.native else resample(data, scan, grid).numpy()
    return NetworkInput(volume, scan, grid, tuple(text for text in (note, grid.note) if text))


def prepare(scan: NetworkInput, levels: tuple[FoldedLevel, ...], options: Options, *, unused: int = 0) -> Run:
    """Return the levels' images on the device, with the scaling of the coarsest.

    Parameters
    ----------
    unused : int
        Number of finer levels that do not run. Their images are pooled as if they did, because the others were trained
        so.
    """
    last = len(levels) - 1
    images = [torch.from_numpy(scan.volume).to(options.device)]
    for _ in range(last + unused):
        images.insert(0, pool(images[0]))
    images = images[: last + 1]
    return Run(
        levels=levels,
        images=tuple(images),
        voxels_mm=tuple(scan.grid.voxel_mm * 2.0 ** (last + unused - p) for p in range(last + 1)),
        scaling=foreground_scaling(images[0]),
        options=options,
    )


def find_brain(run: Run) -> tuple[BoxOutput, torch.Tensor]:
    """Return the coarsest level's output, and the mask (X, Y, Z) of voxels whose posterior of brain is above 0.5."""
    image = run.images[0]
    features = run.features(0, image, None)
    x, y, z = ((0, n) for n in features.shape[2:])
    whole: Box = (x, y, z)
    output = run.levels[0].score(features, None, whole)
    brain = output.logits.float().softmax(1)[0, _BRAIN.to(image.device)].sum(0) > LEAST_POSTERIOR
    return BoxOutput(output, whole), brain[tuple(slice(n) for n in image.shape)]


class Located(NamedTuple):
    """The brain as the coarsest level sees it; unpacked, so that nothing but the caller's variables holds the images.

    Attributes
    ----------
    run : Run
        With intensities scaled by the brain.
    stage : BoxOutput
        The coarsest level's output.
    box : Box
        Box of the brain on the coarsest grid, or the whole volume where the brain's size is implausible.
    note : str
        Reason for the whole volume, else empty.
    """

    run: Run
    stage: BoxOutput
    box: Box
    brain_ml: float
    note: str


def locate(run: Run) -> Located:
    """Find the brain, scale intensities by it, and choose the part of the volume that finer levels see.

    Raises
    ------
    InputError
        ``"no-brain"`` if what is found is too small to be a brain.
    """
    stage, brain = find_brain(run)
    brain_ml = float(brain.sum()) * run.voxels_mm[0] ** 3 / 1000
    if brain_ml < LEAST_ML:
        raise InputError(
            "no-brain", None, f"no brain found in it ({brain_ml:.0f} ml)", "check that it is a T1w scan of a head"
        )
    run = replace(run, scaling=brain_scaling(run.images[0], brain))
    if PLAUSIBLE_ML[0] <= brain_ml <= PLAUSIBLE_ML[1]:
        return Located(run, stage, _box_of(brain), brain_ml, "")
    note = f"the coarse brain has {brain_ml:.0f} ml, which is implausible: the whole volume was used"
    return Located(run, stage, whole(brain), brain_ml, note)


def whole(volume: torch.Tensor) -> Box:
    """Return the box of all voxels of a volume (X, Y, Z)."""
    x, y, z = ((0, n) for n in volume.shape)
    return x, y, z


def _box_of(mask: torch.Tensor) -> Box:
    """Return the bounding box of a non-empty mask."""
    spans = []
    for axis in range(3):
        hit = mask.amax([other for other in range(3) if other != axis])
        at = hit.nonzero().flatten()
        spans.append((int(at[0]), int(at[-1]) + 1))
    return spans[0], spans[1], spans[2]
