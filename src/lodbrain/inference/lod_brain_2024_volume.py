"""LOD-Brain's segmentation of one volume: the published pipeline without cropping, in a quarter of the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodbrain.inference.decide import best_class
from lodbrain.inference.lod_brain_2024_slabs import brain_box, logits_in_slabs, memory_bytes
from lodbrain.inference.prediction import Prediction
from lodbrain.inference.tiling import Box, offset, shape_of, slices
from lodbrain.models.lod_brain_2024 import CLASSES, MULTIPLE, LodBrain2024
from lodbrain.system.progress import Progress

#: Side of the grid that the network was trained on, in voxels.
SIDE: Final = 256


def as_lia(data: NDArray[Any]) -> NDArray[Any]:
    """Return a writable view in LIA order of an array (..., X, Y, Z) in RAS order."""
    return data[..., ::-1, :, ::-1].swapaxes(-1, -2)


def _box_in_lia(box: Box, shape: tuple[int, ...], scan: Box) -> Box:
    """Convert a box of a RAS array (X, Y, Z) to the LIA grid in which the array fills the box `scan`."""
    (x, x_stop), (y, y_stop), (z, z_stop) = box
    spans = ((shape[0] - x_stop, shape[0] - x), (shape[2] - z_stop, shape[2] - z), (y, y_stop))
    a, b, c = ((start + low, stop + low) for (start, stop), (low, _) in zip(spans, scan, strict=True))
    return a, b, c


def padded_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the sides of the network's grid: 256, or the next multiple of 8 if the scan is larger.

    Examples
    --------
    >>> padded_shape((160, 256, 274))
    (256, 256, 280)
    """
    x, y, z = (max(SIDE, -(-length // MULTIPLE) * MULTIPLE) for length in shape)
    return (x, y, z)


def peak_memory_bytes(shape: tuple[int, ...], *, dtype: torch.dtype = torch.float32, box: Box | None = None) -> int:
    """Return an upper bound of the memory of a segmentation, without the scan and the posteriors.

    Parameters
    ----------
    shape : (3,) int
        Shape of the scan, in RAS order.
    box : tuple of 3 (start, stop), optional
        As in `predict_lod_brain_2024`.
    """
    x, y, z = shape
    grid, scan = _padding((x, z, y))
    wanted = scan if box is None else _box_in_lia(box, shape, scan)
    voxels = grid[0] * grid[1] * grid[2]
    return 4 * voxels + memory_bytes(wanted, scan, grid, dtype=dtype)


def _padding(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], Box]:
    """Return the padded shape of a scan in LIA order, and the box of the scan in it."""
    grid = padded_shape(shape)
    x, y, z = ((side - n) // 2 for side, n in zip(grid, shape, strict=True))
    return grid, ((x, x + shape[0]), (y, y + shape[1]), (z, z + shape[2]))


def predict_lod_brain_2024(
    network: LodBrain2024,
    data: NDArray[np.float32],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    box: Box | None = None,
    posteriors: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Return LOD-Brain's segmentation of a volume on the volume's own grid, without post-processing.

    As in the published pipeline the volume is reoriented to LIA, padded with zeros to 256^3 around its centre, z-scored
    over that whole grid, and never resampled. Unlike there, a volume of more than 256 voxels a side is not cropped: the
    grid grows to the next multiple of 8. The result is cropped to the input's grid.

    Parameters
    ----------
    network : LodBrain2024
        With its weights; it is moved to `device`, in channels-last order, and set to eval mode.
    data : (X, Y, Z) float32
        Finite intensities in RAS order, not constant.
    dtype : torch.dtype
        float32, or bfloat16 for the convolutions: twice as fast on a CPU that supports it, 0.1% of voxels change.
    box : tuple of 3 (start, stop), optional
        Part of `data` that holds the brain; all voxels outside are background. Default: the brain found by level 0.

    Returns
    -------
    Prediction
        Classes 0 to 6 (background and LOD-Brain's six tissues), soft volumes and, if requested, posteriors.

    Raises
    ------
    ValueError
        If `data` is not three-dimensional, or is constant.
    """
    classes = np.zeros(data.shape, np.uint8)
    saved = np.zeros((CLASSES, *data.shape), np.float16) if posteriors else None
    if saved is not None:
        saved[0] = 1  # background, where no slab is computed
    soft = np.zeros(CLASSES)
    for share, slab, probabilities in _in_slabs(network, data, box, device=device, dtype=dtype):
        soft += probabilities.sum((1, 2, 3)).cpu().double().numpy()
        if saved is not None:
            as_lia(saved)[:, *slices(slab)] = probabilities.half().cpu().numpy()
        as_lia(classes)[slices(slab)] = best_class(probabilities)[0].to(torch.uint8).cpu().numpy()
        if progress is not None:
            progress(share, "LOD-Brain 2024")
    soft[0] += data.size - soft.sum()  # voxels beyond the box
    return Prediction(classes, soft, saved)


def tissue_posteriors(
    network: LodBrain2024,
    data: NDArray[np.float32],
    box: Box,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the posteriors (7, x, y, z) float16 of a box of a volume; arguments as in `predict_lod_brain_2024`."""
    out = np.empty((CLASSES, *shape_of(box)), np.float16)
    inside = _box_in_lia(box, data.shape, ((0, 0), (0, 0), (0, 0)))
    for _, slab, probabilities in _in_slabs(network, data, box, device=device, dtype=dtype):
        as_lia(out)[:, *slices(offset(slab, inside))] = probabilities.half().cpu().numpy()
    return torch.from_numpy(out).to(device)


def _in_slabs(
    network: LodBrain2024,
    data: NDArray[np.float32],
    box: Box | None,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Iterator[tuple[float, Box, Tensor]]:
    """Yield the share done, a slab in voxels of the volume in LIA order, and its posteriors (7, X, Y, Z) float32."""
    if data.ndim != 3:
        raise ValueError(f"data must be (X, Y, Z), got shape {data.shape}")
    network = network.eval().to(device=torch.device(device), memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    values = as_lia(data)
    grid, scan = _padding(values.shape)
    # Mean and variance over the padded grid, whose added voxels are 0, without allocating it.
    voxels = float(np.prod(grid))
    mean = values.sum(dtype=np.float64) / voxels
    variance = np.square(values, dtype=np.float64).sum() / voxels - mean**2
    if not variance > 0:
        raise ValueError(f"data must vary, got {data.flat[0]} throughout")
    volume = torch.full((1, 1, *grid), 0.0)
    volume[0, 0, *slices(scan)] = torch.from_numpy(values.copy())
    volume = volume.sub_(mean).div_(variance**0.5).to(device)
    with torch.inference_mode(), torch.autocast(volume.device.type, dtype, enabled=dtype != torch.float32):
        coarse = network.coarse(volume)
        wanted = brain_box(network, coarse, scan) if box is None else _box_in_lia(box, data.shape, scan)
        (first, last), _, _ = wanted
        for slab, logits in logits_in_slabs(network, volume, wanted, scan=scan, coarse=coarse):
            share = (slab[0][1] - first) / (last - first)
            yield share, offset(slab, scan), logits[0].float().softmax(0)
