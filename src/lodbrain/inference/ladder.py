"""Run the ladder on one scan: the whole head coarsely, then the brain finely, in tiles if the memory asks for it.

Every level's result equals that of the whole volume: the halo of a tile is the receptive radius of its level, and the boxes of coarser
levels hold the halos of the finer ones. So neither tiles nor boxes change a label.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.intensity import brain_scaling, foreground_scaling
from lodbrain.inference.decide import Decision
from lodbrain.inference.postprocess import keep_largest
from lodbrain.inference.prediction import Options, Prediction, Progress
from lodbrain.inference.pyramid import WorkingGrid, pad_to, pool, resample, working_grid
from lodbrain.inference.sink import Sink
from lodbrain.inference.tiling import Box, grow, shape_of, slices, tiles
from lodbrain.labels import N_CLASSES, STRUCTURES, TISSUE_OF_CLASS, VENTRICLES
from lodbrain.models.lod import Detail, Ladder, Level

#: The finest level may see voxels down to this share of its nominal size: it is trained from 0.6 on.
FINEST_SHARE = 0.55
#: Around the coarse brain mask: what the mask may have missed.
MARGIN_MM = 12.0
#: Brains of living people, with room: outside of it the whole volume is used.
PLAUSIBLE_ML = (500.0, 2500.0)
#: With less than this there is no brain in the scan, or none to speak of.
LEAST_ML = 60.0
#: Doubling looks at one coarse voxel beyond the tile.
DOUBLING_HALO = 4
_SEVERAL_PIECES = tuple(c for c, label in enumerate(STRUCTURES) if label.tissue == VENTRICLES or label.name == "CSF")
_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0


@dataclass(frozen=True, eq=False)
class _Stage:
    """A level's result over a box of its own grid."""

    detail: Detail
    box: Box


@torch.inference_mode()
def run_ladder(
    data: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    *,
    network: Ladder,
    options: Options,
    progress: Progress,
) -> Prediction:
    """Segment an array with a ladder; arguments as in `lodbrain.inference.predict.predict`."""
    device = torch.device(options.device)
    network = network.to(device)
    dtype = working_dtype(options.dtype, device)
    shape = (data.shape[0], data.shape[1], data.shape[2])
    scan = WorkingGrid(shape, spacing_mm, True)
    grid = working_grid(shape, spacing_mm, FINEST_SHARE * 2.0 ** network.configs[-1].exponent)
    notes = [grid.note] if grid.note else []
    volume = torch.from_numpy(np.ascontiguousarray(data)).to(device)
    if not grid.native:
        volume = resample(volume, scan, grid)
    last = network.level_for(grid.voxel_mm)
    images = [volume]
    for _ in range(last):
        images.insert(0, pool(images[0]))
    voxels_mm = [grid.voxel_mm * 2.0 ** (last - p) for p in range(last + 1)]

    progress(0.0, "finding the brain")
    level = _level(network, 0)
    padded = pad_to(foreground_scaling(images[0]).apply(images[0]), level.stride)
    detail = _run(level, padded, voxels_mm[0], None, dtype)
    brain = detail.logits.float().softmax(1)[0, _BRAIN.to(device)].sum(0) > 0.5
    brain = brain[tuple(slice(n) for n in images[0].shape)]
    brain_ml = float(brain.sum()) * voxels_mm[0] ** 3 / 1000
    if brain_ml < LEAST_ML:
        raise InputError(
            "no-brain", None, f"no brain found in it ({brain_ml:.0f} ml)", "check that it is a T1w scan of a head"
        )
    scaling = brain_scaling(images[0], brain)
    box = _box_of(brain)
    if not PLAUSIBLE_ML[0] <= brain_ml <= PLAUSIBLE_ML[1]:
        notes.append(f"the coarse brain has {brain_ml:.0f} ml, which is implausible: the whole volume was used")
        box = tuple((0, n) for n in images[0].shape)  # type: ignore[assignment]
    stage = _Stage(detail, tuple((0, n) for n in detail.logits.shape[2:]))  # type: ignore[arg-type]
    halos = [_level(network, p).radius + DOUBLING_HALO for p in range(last + 1)]
    for p in range(1, last):
        progress(0.1 + 0.2 * p / last, f"level {p + 1} of {last + 1}")
        below = sum(halos[q] / 2 ** (q - p) for q in range(p + 1, last + 1))
        stage = _refine(
            network, p, scaling.apply(images[p]), voxels_mm, stage, _box_at(box, p, voxels_mm, below), dtype, options
        )
    if last == 0:
        sink = Sink(scan, grid, stage.box, posteriors=options.posteriors)
        sink.take(stage.detail, stage.box)
    else:
        final = _box_at(box, last, voxels_mm, 0.0)
        sink = Sink(scan, grid, final, posteriors=options.posteriors)
        text = f"level {last + 1} of {last + 1}"
        _each_tile(
            network,
            last,
            scaling.apply(images[last]),
            voxels_mm,
            stage,
            final,
            dtype,
            options,
            sink.take,
            lambda share: progress(0.3 + 0.55 * share, text),
        )
    progress(0.9, "tidying up")
    return _conclude(sink.finish(), scan, notes, brain_ml, options)


def working_dtype(asked: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for or the processor computes in it, else float32."""
    if asked == "float32":
        return torch.float32
    if asked == "bfloat16":
        return torch.bfloat16
    if device.type == "cpu":
        return torch.bfloat16 if torch.backends.mkldnn.is_available() and _cpu_has_bfloat16() else torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512_BF16 or AMX)."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities == "AVX512" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _flag("avx512_bf16")


def _flag(name: str) -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return any(line.startswith("flags") and name in line.split() for line in file)
    except OSError:
        return False


def _level(network: Ladder, position: int) -> Level:
    level = network.levels[position]
    assert isinstance(level, Level)
    return level


def _run(level: Level, image: torch.Tensor, voxel_mm: float, coarse: Detail | None, dtype: torch.dtype) -> Detail:
    log_voxel = torch.tensor([math.log2(voxel_mm) - level.config.exponent], device=image.device)
    x = image[None, None].contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(image.device.type, dtype, enabled=dtype != torch.float32):
        detail: Detail = level(x, log_voxel, coarse)
    return detail


def _box_of(mask: torch.Tensor) -> Box:
    """The bounding box of a mask that is not empty."""
    spans = []
    for axis in range(3):
        hit = mask.amax([other for other in range(3) if other != axis])
        at = hit.nonzero().flatten()
        spans.append((int(at[0]), int(at[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _box_at(box: Box, position: int, voxels_mm: list[float], below: float) -> Box:
    """A box of the coarsest grid with its margin, and the halos of the finer levels (in voxels), on a finer grid."""
    factor = 2**position
    margin = math.ceil(MARGIN_MM / voxels_mm[position] + below)
    x, y, z = ((start * factor - margin, stop * factor + margin) for start, stop in box)
    return x, y, z


def _under(stage: _Stage, read: Box) -> Detail:
    """The coarse result under a box of the next finer grid; beyond the coarse grid's edge its last voxels are repeated."""

    def cut(t: torch.Tensor) -> torch.Tensor:
        inside = [
            (start // 2 - s, -(-stop // 2) - s, n)
            for (start, stop), (s, _), n in zip(read, stage.box, t.shape[2:], strict=True)
        ]
        if all(a >= 0 and b <= n for a, b, n in inside):
            (a, b, _), (c, d, _), (e, f, _) = inside
            return t[:, :, a:b, c:d, e:f]
        for axis, (a, b, n) in enumerate(inside, 2):
            t = t.index_select(axis, torch.arange(a, b, device=t.device).clamp(0, n - 1))
        return t

    return stage.detail.map(cut)


def _each_tile(
    network: Ladder,
    position: int,
    image: torch.Tensor,
    voxels_mm: list[float],
    above: _Stage,
    box: Box,
    dtype: torch.dtype,
    options: Options,
    take: Callable[[Detail, Box], None],
    report: Callable[[float], None],
) -> Box:
    level = _level(network, position)
    align = max(2, level.stride)
    padded = pad_to(image, align)
    shape = (padded.shape[0], padded.shape[1], padded.shape[2])
    box = grow(box, (0, 0, 0), shape, align)
    halo = -(-(level.radius + DOUBLING_HALO) // align) * align
    cut = list(tiles(box, shape, halo=halo, align=align, most_voxels=most_voxels(level, dtype, options)))
    for number, tile in enumerate(cut):
        detail = _run(level, padded[slices(tile.read)], voxels_mm[position], _under(above, tile.read), dtype)
        inside = (slice(None), slice(None), *tile.inside)
        take(detail.map(lambda t, inside=inside: t[inside]), tile.core)
        report((number + 1) / len(cut))
    return box


def most_voxels(level: Level, dtype: torch.dtype, options: Options) -> int:
    """Voxels that one tile may read."""
    if options.tile_voxels is not None:
        return options.tile_voxels
    # Measured on a U-Net of 16 channels: about 10 tensors of its first width live at the peak, and two sets of logits.
    size = 2 if dtype == torch.bfloat16 else 4
    bytes_per_voxel = (10 * level.config.channels[0] + 3 * N_CLASSES) * size
    limit = 1.0e9 if options.memory_bytes is None else max(1e8, min(1.0e9, 0.4 * options.memory_bytes))
    return int(limit / bytes_per_voxel)


def _refine(
    network: Ladder,
    position: int,
    image: torch.Tensor,
    voxels_mm: list[float],
    above: _Stage,
    box: Box,
    dtype: torch.dtype,
    options: Options,
) -> _Stage:
    """A level's features and logits over a box, for the next level."""
    parts: list[tuple[Detail, Box]] = []
    box = _each_tile(
        network,
        position,
        image,
        voxels_mm,
        above,
        box,
        dtype,
        options,
        lambda d, b: parts.append((d, b)),
        lambda s: None,
    )
    if len(parts) == 1:
        return _Stage(parts[0][0], box)
    first = parts[0][0]

    def whole(like: torch.Tensor) -> torch.Tensor:
        return torch.empty((*like.shape[:2], *shape_of(box)), dtype=like.dtype, device=like.device)

    detail = first.map(whole)
    while parts:
        part, core = parts.pop(0)
        x, y, z = (slice(a - s, b - s) for (a, b), (s, _) in zip(core, box, strict=True))
        detail.features[:, :, x, y, z] = part.features
        detail.logits[:, :, x, y, z] = part.logits
        if detail.side is not None and part.side is not None:
            detail.side[:, :, x, y, z] = part.side
    return _Stage(detail, box)


def _conclude(decision: Decision, scan: WorkingGrid, notes: list[str], brain_ml: float, options: Options) -> Prediction:
    classes = decision.classes
    if options.postprocess:
        classes = keep_largest(classes, decision.second, leave=_SEVERAL_PIECES)
    brain = np.asarray(TISSUE_OF_CLASS)[classes] > 0
    voxels = int(brain.sum())
    quality = {
        "confidence": round(decision.confidence(), 4),
        "brain_ml": round(voxels * math.prod(scan.spacing_mm) / 1000, 1),
        "coarse_brain_ml": round(brain_ml, 1),
        "moved_share": round(float((classes != decision.classes).sum()) / max(1, voxels), 5),
    }
    return Prediction(classes, decision.soft_volume_vox, decision.posteriors, quality, tuple(notes))
