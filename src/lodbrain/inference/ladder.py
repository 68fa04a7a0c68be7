"""Coarse-to-fine segmentation of one scan: the whole head at the coarsest level, then the brain, in tiles if needed.

Tiles do not change labels, because their halo is the receptive radius of the level. Nor does the box change labels in
the brain, because its margin is at least the receptive radius.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from lodbrain.images.intensity import brain_scaling
from lodbrain.inference.boxes import aligned, boxes_around
from lodbrain.inference.brain_search import NetworkInput, locate, plan_tiles, prepare, whole
from lodbrain.inference.budget import amount, make_plan
from lodbrain.inference.calibration import Calibration
from lodbrain.inference.counts import voxels_of_class
from lodbrain.inference.decide import Decision
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.prediction import CoarseView, Options, Prediction
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.second_opinion import SecondOpinion, is_asked, second_opinion, weight_at
from lodbrain.inference.sink import Sink
from lodbrain.inference.tiled_levels import BoxOutput, Run, each_part, refine
from lodbrain.inference.tiling import Box
from lodbrain.inference.workload import Work
from lodbrain.labels import N_CLASSES, SIDELESS, STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.consensus import Consensus
from lodbrain.models.folded import fold
from lodbrain.models.lod import Ladder, LevelOutput
from lodbrain.system.memory import give_back, sparing
from lodbrain.system.progress import Progress


@torch.inference_mode()
def run_ladder(
    given: NetworkInput,
    *,
    network: Ladder,
    calibrations: Mapping[int, Calibration] | None = None,
    options: Options,
    progress: Progress,
    consensus: Consensus | None = None,
    mixed_calibrations: Mapping[int, Calibration] | None = None,
) -> Prediction:
    """Segment a scan with a ladder; other arguments as in `lodbrain.inference.predict.predict`.

    `calibrations` maps the levels' exponents to their calibrations. `consensus` is the model that contains the ladder;
    `mixed_calibrations` are those of the posteriors averaged over its members.
    """
    device = torch.device(options.device)
    scan, grid, notes = given.scan, given.grid, list(given.notes)
    dtype = working_dtype(options.dtype, device)
    asked = consensus is not None and is_asked(scan)
    if consensus is not None and not asked:
        notes.append(f"LOD-Brain was not used: voxels of {scan.voxel_mm:.2f} mm are too far from its 1 mm")
    work = Work.of(
        network, scan, grid, dtype=dtype, posteriors=options.posteriors, pooling=options.pooling, second=asked
    )
    plan_tiles(work, options)  # raises before any processing if the memory is not enough
    last = len(work.levels) - 1
    calibration = (calibrations or {}).get(network.configs[last].exponent, Calibration())
    levels = fold(network.to(device), dtype, last=last, temperature=calibration.temperature)
    run = prepare(given, levels, options)
    if not options.context and len(run.images) > 1:
        return _finest_alone(run, scan, grid, notes)

    progress(0.0, "finding the brain")
    run, stage, box, brain_ml, note = locate(run)
    notes += [note] if note else []

    plan = plan_tiles(work, options, box)
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
            if second.weight:
                alone = replace(calibration, temperature=1.0)
                calibration = (mixed_calibrations or {}).get(network.configs[last].exponent, alone)
                second.temperature = calibration.temperature
        sink = Sink(
            scan,
            grid,
            stage.box if last == 0 else boxes[last],
            posteriors=options.posteriors,
            pooling=options.pooling,
            second=second,
        )
        if last == 0:
            sink.take(stage.output, stage.box)
        else:
            for output, core, share in each_part(run, last, stage, boxes[last]):
                sink.take(output, core)
                del output  # a view of the whole tile's features
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
    box = aligned(whole(run.images[last]), run.levels[last], run.images[last].shape)
    sink = Sink(scan, grid, box, posteriors=run.options.posteriors, pooling=run.options.pooling)
    for output, core, _ in each_part(run, last, BoxOutput(LevelOutput(features, logits, side), whole(above)), box):
        sink.take(output, core)
    return _conclude(sink.finish(), notes, 0.0, run.options)


def _ask(consensus: Consensus, run: Run, stage: BoxOutput, grid: WorkingGrid, box: Box) -> SecondOpinion:
    """Return the second member's tissues in a box of the finest grid, and their agreement with the level above."""
    second = second_opinion(consensus, run.images[-1], grid, box, run.options)
    above = run.images[-2].shape
    shape, (a, b, c) = (above[0], above[1], above[2]), (2 * v for v in grid.spacing_mm)
    (i, i_stop), (j, j_stop), (k, k_stop) = ((lo, min(hi, n)) for (lo, hi), n in zip(stage.box, shape, strict=True))
    inside = stage.output.map(lambda t: t[:, :, : i_stop - i, : j_stop - j, : k_stop - k])  # without the padding
    part = ((i, i_stop), (j, j_stop), (k, k_stop))
    second.agreed = second.agreement(inside, WorkingGrid(shape, (a, b, c), False), part)
    return second


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
        decision.variance_vox,
        disagreement=decision.disagreement,
    )
