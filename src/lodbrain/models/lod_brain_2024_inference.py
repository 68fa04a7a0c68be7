"""LOD-Brain's segmentation of one volume: the published pipeline, its cropping mended, at a quarter of its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lodbrain.models.lod_brain_2024 import CLASSES, MULTIPLE, LodBrain2024, doubled

#: Side of the grid that the network was trained on, in voxels.
SIDE: Final = 256
#: Two 3x3x3 convolutions follow one another at full resolution, so a slab is cut out with two more voxels a side.
HALO: Final = 2
#: Planes of a slab: 8 recompute half of the convolutions in halos, 32 take 0.7 GiB more at 256^3.
THICKNESS: Final = 16

Box = tuple[slice, slice, slice]
Progress = Callable[[float, str], None]


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    """Return the box with its halo, clipped to the grid, with even bounds so that its half is a box too."""
    starts = [max(0, (side.start - HALO) // 2 * 2) for side in box]
    stops = [min(length, (side.stop + HALO + 1) // 2 * 2) for side, length in zip(box, shape, strict=True)]
    return (slice(starts[0], stops[0]), slice(starts[1], stops[1]), slice(starts[2], stops[2]))


def _within(box: Box, outer: Box) -> Box:
    """Return the box in the coordinates of `outer`."""
    x, y, z = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return (x, y, z)


def _half(box: Box) -> Box:
    """Return the box in the coordinates of the half-size grid."""
    x, y, z = (slice(side.start // 2, side.stop // 2) for side in box)
    return (x, y, z)


def _cut(x: Tensor, box: Box) -> Tensor:
    """Return the view of `x` (B, C, X, Y, Z) inside the box."""
    return x[(slice(None), slice(None), *box)]


def slabs(box: Box, thickness: int) -> Iterator[Box]:
    """Cut a box along its first axis at multiples of `thickness`, which is even."""
    first = box[0]
    for start in range(first.start // thickness * thickness, first.stop, thickness):
        yield (slice(max(start, first.start), min(start + thickness, first.stop)), box[1], box[2])


@torch.inference_mode()
def logits_in_slabs(
    network: LodBrain2024, x: Tensor, box: Box, *, thickness: int = THICKNESS
) -> Iterator[tuple[Box, Tensor]]:
    """Yield slab by slab what `network(x)` holds inside the box, to rounding, at a quarter of the memory.

    A full-size layer of 32 channels of 256^3 takes 2 GiB in float32, and a plain forward pass holds six of them. Here
    one is held: the convolution before the GroupNorm of level 1, whose mean and variance need the whole volume. The
    convolutions before and after it run on slabs with a halo and agree with those of the whole volume.

    Parameters
    ----------
    network : LodBrain2024
        In eval mode, on the device of `x`.
    x : (1, 1, X, Y, Z) float
        z-scored volume in LIA order; the sides are multiples of 8.
    box : tuple of slice
        Where the result is wanted, in voxels of `x`.
    thickness : int
        Planes of a slab, an even number.

    Yields
    ------
    tuple of slice, (1, 7, ...) float
        Slab in voxels of `x`, and its logits.
    """
    shape = tuple(x.shape[2:])
    whole: Box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    coarse = network.coarse(x)

    conv, norm = network.down.conv, network.down.norm
    dtype = network.head(coarse[:, :, :1, :1, :1]).dtype  # what autocast chooses for convolutions, if it is on
    size = (1, conv.out_channels, *shape)
    before_norm = torch.empty(size, dtype=dtype, device=x.device, memory_format=torch.channels_last_3d)
    variances, means, sizes = [], [], []
    for slab in slabs(whole, thickness):
        outer = _grown(slab, shape)
        part = _cut(conv(network.stem(_cut(x, outer))), _within(slab, outer))
        _cut(before_norm, slab).copy_(part)
        variance, mean = torch.var_mean(part.float(), dim=(0, 2, 3, 4), correction=0)
        variances.append(variance.cpu().double())
        means.append(mean.cpu().double())
        sizes.append(part[0, 0].numel())
    scale, shift = (
        value.to(x)[:, None, None, None]
        for value in _group_norm(norm, torch.stack(variances), torch.stack(means), torch.tensor(sizes))
    )

    narrow = x.new_empty((1, network.up.conv.out_channels, *(length // 2 for length in shape)))
    for slab in slabs(whole, thickness):
        outer = _grown(slab, shape)
        part = F.relu_(torch.addcmul(shift, _cut(before_norm, outer), scale))
        part = network.up.conv(F.relu_(network.down.step(part)))
        _cut(narrow, _half(slab)).copy_(_cut(part, _within(_half(slab), _half(outer))))
    del before_norm, part
    narrow = F.relu_(network.up.norm(narrow))

    coarse_out = network.coarse.out(coarse)
    for slab in slabs(box, thickness):
        outer = _grown(slab, shape)
        features = F.relu_(network.up.step(_cut(narrow, _half(outer))))
        features += network.stem(_cut(x, outer))
        features += doubled(_cut(coarse, _half(outer)))
        features = network.out(features)
        features += doubled(_cut(coarse_out, _half(outer)))
        yield slab, network.head(_cut(features, _within(slab, outer)))


def _group_norm(norm: nn.GroupNorm, variances: Tensor, means: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,) float64 of a GroupNorm from the channels' variances and means (slabs, C) and sizes.

    The pooled variance is E[variance of a part + mean of a part squared] - E[mean]^2, over parts of `sizes` voxels.
    """
    weight = (sizes.double() / sizes.sum())[:, None]

    def pooled(values: Tensor) -> Tensor:
        groups = (weight * values).sum(0).view(norm.num_groups, -1)
        return groups.mean(1, keepdim=True).expand_as(groups).flatten()

    mean = pooled(means)
    variance = pooled(variances + means**2) - mean**2
    scale = norm.weight.cpu().double() / (variance + norm.eps).sqrt()
    return scale, norm.bias.cpu().double() - mean * scale


@dataclass(frozen=True, eq=False)
class LodBrain2024Prediction:
    """What the network says of one volume, on the grid that came in.

    Attributes
    ----------
    classes : (X, Y, Z) uint8
        The most probable of the seven classes: background and LOD-Brain's six tissues.
    soft_volume_vox : (7,) float64
        Sum of the posteriors of each class, in voxels.
    posteriors : (7, X, Y, Z) float16 or None
        Probability of each class, if they were asked for.
    """

    classes: NDArray[np.uint8]
    soft_volume_vox: NDArray[np.float64]
    posteriors: NDArray[np.float16] | None


def as_lia(data: NDArray[Any]) -> NDArray[Any]:
    """Return a view in LIA order of an array (..., X, Y, Z) in RAS order; what is written to it goes through."""
    return data[..., ::-1, :, ::-1].swapaxes(-1, -2)


def padded_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the sides of the grid that the network sees: 256, or the next multiple of 8 where the scan is larger.

    Examples
    --------
    >>> padded_shape((160, 256, 274))
    (256, 256, 280)
    """
    x, y, z = (max(SIDE, -(-length // MULTIPLE) * MULTIPLE) for length in shape)
    return (x, y, z)


def peak_memory_bytes(shape: tuple[int, ...], *, dtype: torch.dtype = torch.float32) -> int:
    """Return an upper estimate of the memory of a process that runs `predict_lod_brain_2024`, posteriors left out.

    Parameters
    ----------
    shape : (3,) int
        Of the scan, in RAS order.
    dtype : torch.dtype
        Of the convolutions.
    """
    grid = padded_shape((shape[0], shape[2], shape[1]))
    voxels = grid[0] * grid[1] * grid[2]
    kept = voxels * (32 * dtype.itemsize + (1 + 32 / 8 + 8 / 8) * 4)  # one full-size layer; volume, coarse, narrow
    slab = (THICKNESS + 2 * HALO) * grid[1] * grid[2] * 32 * 4
    return int(kept + 4 * slab + 0.4 * 2**30)


def predict_lod_brain_2024(
    network: LodBrain2024,
    data: NDArray[np.float32],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    posteriors: bool = False,
    progress: Progress | None = None,
) -> LodBrain2024Prediction:
    """Return LOD-Brain's segmentation of a volume on the volume's own grid, without post-processing.

    As in the published pipeline the volume is turned to LIA, padded with zeros to 256^3 around its centre, z-scored
    over that whole grid, and never resampled. Unlike there, a volume of more than 256 voxels a side is not cropped: the
    grid grows to the next multiple of 8. The result is cut back to the input's grid.

    Parameters
    ----------
    network : LodBrain2024
        With its weights; it is moved to `device`, in channels-last order, and set to eval mode.
    data : (X, Y, Z) float32
        Finite intensities in RAS order, not constant.
    device : torch.device or str
        Where the network runs.
    dtype : torch.dtype
        float32, or bfloat16 for the convolutions: twice as fast where the processor has it, 0.1% of voxels change.
    posteriors : bool
        Whether to return the probabilities of all classes.
    progress : callable, optional
        Called with the fraction done and a text.

    Returns
    -------
    LodBrain2024Prediction
        Classes, soft volumes and, if asked for, posteriors.

    Raises
    ------
    ValueError
        If `data` is not three-dimensional, or is constant.
    """
    if data.ndim != 3:
        raise ValueError(f"data must be (X, Y, Z), got shape {data.shape}")
    network = network.eval().to(device=torch.device(device), memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    scan = as_lia(data)
    grid = padded_shape(scan.shape)
    low = [(side - length) // 2 for side, length in zip(grid, scan.shape, strict=True)]
    x0, y0, z0 = (slice(start, start + length) for start, length in zip(low, scan.shape, strict=True))
    # Mean and variance over the padded grid, whose added voxels are 0, without making it.
    voxels = float(np.prod(grid))
    mean = scan.sum(dtype=np.float64) / voxels
    variance = np.square(scan, dtype=np.float64).sum() / voxels - mean**2
    if not variance > 0:
        raise ValueError(f"data must vary, got {data.flat[0]} throughout")
    volume = torch.full((1, 1, *grid), 0.0)
    volume[0, 0, x0, y0, z0] = torch.from_numpy(scan.copy())
    volume = volume.sub_(mean).div_(variance**0.5).to(device)

    classes = np.zeros(data.shape, np.uint8)
    kept = np.zeros((CLASSES, *data.shape), np.float16) if posteriors else None
    soft = np.zeros(CLASSES)
    with torch.autocast(volume.device.type, dtype, enabled=dtype != torch.float32):
        for slab, logits in logits_in_slabs(network, volume, (x0, y0, z0)):
            place = _within(slab, (x0, y0, z0))
            probabilities = logits[0].float().softmax(0)
            as_lia(classes)[place] = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
            soft += probabilities.sum((1, 2, 3)).cpu().double().numpy()
            if kept is not None:
                as_lia(kept)[(slice(None), *place)] = probabilities.half().cpu().numpy()
            if progress is not None:
                progress((slab[0].stop - x0.start) / scan.shape[0], "LOD-Brain 2024")
    return LodBrain2024Prediction(classes, soft, kept)
