"""Coarse-to-fine segmentation of one scan: the whole head at the coarsest level, then the brain, in tiles if needed.

Tiles do not change labels, because their halo is the receptive radius of the level. Nor does the box change labels in
the brain, because its margin is at least the receptive radius.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.background import blacken_background
from lodbrain.images.intensity import brain_scaling, foreground_scaling
from lodbrain.inference.boxes import aligned, boxes_around
from lodbrain.inference.budget import MOST_TILE_BYTES, Plan, Work, amount, check, make_plan
from lodbrain.inference.calibration import Calibration
from lodbrain.inference.consensus import SecondOpinion, is_asked, second_opinion, weight_at
from lodbrain.inference.counts import voxels_of_class
from lodbrain.inference.decide import Decision
from lodbrain.inference.handover import Handover
from lodbrain.inference.levels import Run, Stage, each_part, refine
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.prediction import CoarseView, Options, Prediction, Progress
from lodbrain.inference.pyramid import WorkingGrid, pool, resample, working_grid
from lodbrain.inference.sink import Sink
from lodbrain.inference.tiling import Box
from lodbrain.labels import N_CLASSES, SIDELESS, STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.consensus import Consensus
from lodbrain.models.folded import FoldedLevel, fold
from lodbrain.models.lod import Detail, Ladder
from lodbrain.system.memory import give_back, sparing

#: Smallest voxel that the finest level runs on, relative to its nominal size: it is trained from 0.6 on.
FINEST_SHARE = 0.55
#: From here on the coarsest level's posterior of all structures but CSF makes a voxel brain.
LEAST_POSTERIOR = 0.5
#: Brains of living people, with room: outside of it the whole volume is used.
PLAUSIBLE_ML = (500.0, 2500.0)
#: Below this coarse brain volume the scan is rejected as showing no brain.
LEAST_ML = 60.0
_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0


@torch.inference_mode()
def run_ladder(
    data: NDArray[np.float32] | Handover,
    spacing_mm: tuple[float, float, float],
    *,
    network: Ladder,
    calibrations: Mapping[int, Calibration] | None = None,
    options: Options,
    progress: Progress,
    consensus: Consensus | None = None,
) -> Prediction:
    """Segment an array with a ladder; arguments as in `lodbrain.inference.predict.predict`.

    `calibrations` maps the levels' exponents to their calibrations. `consensus` is the model that contains the ladder.
    """
    device = torch.device(options.device)
    if isinstance(data, Handover):
        data = data.take(again=device.type != "cpu")  # a GPU may need a retry
    scan, grid = grids(data.shape, spacing_mm, network)
    data, note = blacken_background(data)
    notes = [text for text in (note, grid.note) if text]
    dtype = working_dtype(options.dtype, device)
    asked = consensus is not None and is_asked(scan)
    if consensus is not None and not asked:
        notes.append(f"LOD-Brain was not asked: voxels of {scan.voxel_mm:.2f} mm are too far from its 1 mm")
    work = Work.of(network, scan, grid, dtype=dtype, posteriors=options.posteriors, second=asked)
    _plan(work, options)  # raises before any processing if the memory is not enough
    last = len(work.levels) - 1
    calibration = (calibrations or {}).get(network.configs[last].exponent, Calibration())
    levels = fold(network.to(device), dtype, last=last, temperature=calibration.temperature)
    run = _prepare(data, scan, grid, levels, options)
    del data
    give_back()
    if not options.context and len(run.images) > 1:
        return _finest_alone(run, scan, grid, notes)

    progress(0.0, "finding the brain")
    stage, brain = _whole_head(run)
    brain_ml = float(brain.sum()) * run.voxels_mm[0] ** 3 / 1000
    if brain_ml < LEAST_ML:
        raise InputError(
            "no-brain", None, f"no brain found in it ({brain_ml:.0f} ml)", "check that it is a T1w scan of a head"
        )
    run = replace(run, scaling=brain_scaling(run.images[0], brain))
    box = _box_of(brain)
    if not PLAUSIBLE_ML[0] <= brain_ml <= PLAUSIBLE_ML[1]:
        notes.append(f"the coarse brain has {brain_ml:.0f} ml, which is implausible: the whole volume was used")
        box = _whole(run.images[0])

    plan = _plan(work, options, box)
    if work.second and not plan.second:
        notes.append(_no_room(work, options, box))
    run = replace(run, tile_voxels=plan.tile_voxels)
    boxes = boxes_around(box, run.levels, work.shapes, run.voxels_mm)
    with sparing(wanted=plan.spare):
        for p in range(1, last):
            progress(0.1 + 0.2 * p / last, f"level {p + 1} of {last + 1}")
            stage = refine(run, p, stage, boxes[p])
        second = None
        if consensus is not None and plan.second:
            progress(0.3, "second opinion")
            with sparing(wanted=not plan.spare):
                second = _ask(consensus, run, stage, grid, boxes[last])
            give_back()
            second.weight, note = weight_at(second.agreed, second.weight)
            notes += [note] if note else []
        sink = Sink(scan, grid, stage.box if last == 0 else boxes[last], posteriors=options.posteriors, second=second)
        if last == 0:
            sink.take(stage.detail, stage.box)
        else:
            for detail, core, share in each_part(run, last, stage, boxes[last]):
                sink.take(detail, core)
                del detail  # a view of the whole tile's features
                progress(0.3 + 0.55 * share, f"level {last + 1} of {last + 1}")
    coarse = (
        CoarseView(run.images[0].cpu().numpy(), run.voxels_mm[0], levels[0])
        if last and levels[0].config.sided
        else None
    )
    del run, stage
    give_back()
    progress(0.9, "tidying up")
    prediction = _conclude(sink.finish(), notes, brain_ml, options)
    if second is not None:
        measures = {
            "agreement": round(second.agreed, 4),
            "disagreement": round(second.disagreement, 4),
            "second_weight": round(second.weight, 3),
        }
        prediction = replace(prediction, quality={**prediction.quality, **measures})
    peak_bytes = options.base_bytes + plan.peak_bytes if device.type == "cpu" else None
    return replace(prediction, peak_bytes=peak_bytes, calibration=calibration, coarse=coarse)


def grids(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], network: Ladder
) -> tuple[WorkingGrid, WorkingGrid]:
    """Return a scan's own grid, and the grid that a ladder runs on."""
    x, y, z = shape
    finest_mm = FINEST_SHARE * 2.0 ** network.configs[-1].exponent
    return WorkingGrid((x, y, z), spacing_mm, True), working_grid((x, y, z), spacing_mm, finest_mm)


def _plan(work: Work, options: Options, brain: Box | None = None) -> Plan:
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


def _no_room(work: Work, options: Options, brain: Box) -> str:
    """What is to be said of a second opinion that the budget has no room for."""
    needed = amount(options.base_bytes + make_plan(work, room=0, brain=brain).peak_bytes)
    allowed = amount(options.memory_bytes or 0)
    return f"LOD-Brain was left out: with it {needed} of memory are needed, {allowed} are allowed or free"


def _finest_alone(run: Run, scan: WorkingGrid, grid: WorkingGrid, notes: list[str]) -> Prediction:
    """Return the finest level's prediction of the whole volume without conditioning on coarser levels.

    The coarse features are 0 and the coarse posteriors uniform; intensities are scaled by the bright half, since no
    brain mask is available. If the coarse level has no sides, all structures are put on the right.
    """
    last = len(run.images) - 1
    above, shape = run.images[last - 1], run.images[last - 1].shape
    channels = run.levels[last - 1].config.channels[0]
    classes = len(STRUCTURES) if run.levels[last - 1].config.sided else len(SIDELESS)
    logits = torch.zeros((1, classes, *shape), device=above.device)
    side = None if run.levels[last - 1].config.sided else torch.zeros((1, 1, *shape), device=above.device)
    features = torch.zeros((1, channels, *shape), dtype=run.levels[last].dtype, device=above.device)
    scaling = brain_scaling(run.images[0], torch.zeros_like(run.images[0], dtype=torch.bool))
    tiles = None if run.options.tile_voxels is None else (run.options.tile_voxels,) * (last + 1)
    run = replace(run, scaling=scaling, tile_voxels=tiles or ())
    box = aligned(_whole(run.images[last]), run.levels[last], run.images[last].shape)
    sink = Sink(scan, grid, box, posteriors=run.options.posteriors)
    for detail, core, _ in each_part(run, last, Stage(Detail(features, logits, side), _whole(above)), box):
        sink.take(detail, core)
    return _conclude(sink.finish(), notes, 0.0, run.options)


def _prepare(
    data: NDArray[np.float32],
    scan: WorkingGrid,
    grid: WorkingGrid,
    levels: tuple[FoldedLevel, ...],
    options: Options,
) -> Run:
    """Return the levels' images on the device, with the scaling of the coarsest."""
    volume = torch.from_numpy(np.ascontiguousarray(data)) if grid.native else resample(data, scan, grid)
    last = len(levels) - 1
    images = [volume.to(options.device)]
    for _ in range(last):
        images.insert(0, pool(images[0]))
    return Run(
        levels=levels,
        images=tuple(images),
        voxels_mm=tuple(grid.voxel_mm * 2.0 ** (last - p) for p in range(last + 1)),
        scaling=foreground_scaling(images[0]),
        options=options,
    )


def _whole_head(run: Run) -> tuple[Stage, torch.Tensor]:
    """Return the coarsest level's output, and the mask (X, Y, Z) of voxels whose posterior of brain is above 0.5."""
    image = run.images[0]
    features = run.features(0, image, None)
    x, y, z = ((0, n) for n in features.shape[2:])
    whole: Box = (x, y, z)
    detail = run.levels[0].score(features, None, whole)
    brain = detail.logits.float().softmax(1)[0, _BRAIN.to(image.device)].sum(0) > LEAST_POSTERIOR
    return Stage(detail, whole), brain[tuple(slice(n) for n in image.shape)]


def _ask(consensus: Consensus, run: Run, stage: Stage, grid: WorkingGrid, box: Box) -> SecondOpinion:
    """Return the second member's tissues in a box of the finest grid, and their agreement with the level above."""
    second = second_opinion(consensus, run.images[-1], grid, box, run.options)
    above = run.images[-2].shape
    shape, (a, b, c) = (above[0], above[1], above[2]), (2 * v for v in grid.spacing_mm)
    (i, i_stop), (j, j_stop), (k, k_stop) = ((lo, min(hi, n)) for (lo, hi), n in zip(stage.box, shape, strict=True))
    inside = stage.detail.map(lambda t: t[:, :, : i_stop - i, : j_stop - j, : k_stop - k])  # without the padding
    part = ((i, i_stop), (j, j_stop), (k, k_stop))
    second.agreed = second.agreement(inside, WorkingGrid(shape, (a, b, c), False), part)
    return second


def _whole(volume: torch.Tensor) -> Box:
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


def _conclude(decision: Decision, notes: list[str], brain_ml: float, options: Options) -> Prediction:
    classes = decision.classes
    leave = SEVERAL_PIECES["structures"]
    moved = keep_largest(classes, leave=leave) if options.postprocess else 0
    voxels = int(voxels_of_class(classes, N_CLASSES)[TISSUE_OF_CLASS > 0].sum())
    quality = {"coarse_brain_ml": round(brain_ml, 1), "moved_share": round(moved / max(1, voxels), 5)}
    return Prediction(
        classes,
        decision.soft_volume_vox,
        decision.posteriors,
        quality,
        tuple(notes),
        decision.certainty,
        decision.doubt_vox,
        disagreement=decision.disagreement,
    )
