"""Memory allowance of a scan, and a check of its header against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lodbrain.errors import InputError
from lodbrain.images.geometry import check_affine
from lodbrain.images.grid import closest_ras
from lodbrain.images.layout import Layout
from lodbrain.segmentation.settings import Model, Settings
from lodbrain.segmentation.tissue_maps import kept_pooling
from lodbrain.system.memory import free_bytes, resident_bytes

if TYPE_CHECKING:
    from lodbrain.models.lod import Ladder


@dataclass(frozen=True)
class Allowance:
    """Memory limits of this process.

    Attributes
    ----------
    memory_bytes : int
        Memory that the process may use at its peak; on a GPU, memory of the device.
    base_bytes : int
        Memory that the process uses before the scan is read.
    """

    memory_bytes: int
    base_bytes: int

    @classmethod
    def now(cls, settings: Settings, device: str, *, held_bytes: int = 0) -> Allowance:
        """Return the budget of the settings, else the free memory; `held_bytes` is the size of a scan already read."""
        base = resident_bytes() - held_bytes
        free = 0 if settings.memory_bytes else free_bytes(device) + (base + held_bytes if device == "cpu" else 0)
        return cls(settings.memory_bytes or free, base)


def check_header(path: Path, layout: Layout, *, model: Model, settings: Settings, allowance: Allowance) -> None:
    """Raise InputError ``"memory"``, with the amount needed, if a scan does not fit in, by its header alone."""
    import torch

    from lodbrain.inference import budget
    from lodbrain.inference.brain_search import grids
    from lodbrain.inference.lod_brain_2024_volume import peak_memory_bytes
    from lodbrain.inference.precision import working_dtype
    from lodbrain.inference.workload import Work
    from lodbrain.models.consensus import ladder_in
    from lodbrain.models.lod_brain_2024 import LodBrain2024

    if model.device != "cpu":
        return
    found = _ras_grid(path, layout, settings)
    if found is None:
        return
    shape, spacing_mm = found
    dtype = working_dtype("auto", torch.device(model.device))
    ladder = ladder_in(model.network)
    if ladder is not None:
        work = Work.of(
            ladder,
            *grids(shape, spacing_mm, ladder),
            dtype=dtype,
            posteriors=settings.posteriors or settings.tissue_maps,
            pooling=kept_pooling(model.card.labels, settings),
            second=ladder is not model.network,
        )
        budget.check(
            replace(work, stored_bytes=layout.dtype.itemsize),
            allowed_bytes=allowance.memory_bytes,
            base_bytes=allowance.base_bytes,
            path=path,
        )
    elif isinstance(model.network, LodBrain2024):
        needed = allowance.base_bytes + layout.frame_bytes + peak_memory_bytes(shape, dtype=dtype)
        needed += budget.LIBRARIES
        if needed > allowance.memory_bytes:
            budget.refuse(needed, allowance.memory_bytes, path)


def check_mask_header(path: Path, layout: Layout, *, ladder: Ladder, settings: Settings, allowance: Allowance) -> None:
    """Raise InputError ``"memory"``, with the amount needed, if a brain mask does not fit in, by the header alone."""
    import torch

    from lodbrain.inference import budget
    from lodbrain.inference.brain_mask import mask_work
    from lodbrain.inference.brain_search import grids
    from lodbrain.inference.precision import working_dtype

    found = _ras_grid(path, layout, settings)
    if found is None:
        return
    scan, grid = grids(*found, ladder)
    work = mask_work(ladder, scan, grid, dtype=working_dtype("auto", torch.device("cpu")))
    # The voxels as stored are kept to the end, beside those that are computed with.
    base_bytes = allowance.base_bytes + layout.frame_bytes
    budget.check(work, allowed_bytes=allowance.memory_bytes, base_bytes=base_bytes, path=path)


def _ras_grid(
    path: Path, layout: Layout, settings: Settings
) -> tuple[tuple[int, int, int], tuple[float, float, float]] | None:
    """Return shape and voxel sides in mm of a scan in RAS order; None for an affine that the reader will refuse."""
    try:
        check_affine(path, layout.affine, layout.shape, allow_odd_voxels=settings.allow_odd_voxels)
    except InputError:  # raised again when the scan is read, unless that finds another error first
        return None
    axes = closest_ras(layout.affine).axes
    sides = np.linalg.norm(layout.affine[:3, :3], axis=0)
    x, y, z = (layout.shape[axis] for axis in axes)
    x_mm, y_mm, z_mm = (float(sides[axis]) for axis in axes)
    return (x, y, z), (x_mm, y_mm, z_mm)
