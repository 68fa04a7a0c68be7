"""Memory and time of a training, predicted per level before its first step, and what fits into other memory."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lodbrain.labels import N_CLASSES
from lodbrain.segmentation.settings import choose_device
from lodbrain.synthesis.fields import Grid
from lodbrain.system.memory import resident_bytes
from lodbrain.training.config import TrainingConfig
from lodbrain.training.heads import first_heads, heads_of_stage, sizes
from lodbrain.training.maps import load_maps, maps_bytes
from lodbrain.training.memory import Shape, step_memory
from lodbrain.training.peak import held_bytes
from lodbrain.training.run import TrainingRun, build
from lodbrain.training.workers import join

#: Number of batches that are ready or being sampled during a step.
READY = 2
#: Memory for sampling a scan in addition to the pair: per voxel, and for the points sampled at a time.
DRAW_BYTES_PER_VOXEL, DRAW_BYTES = 40, 150 * 2**20
#: Memory that the CPU's kernels allocate on first use for code, tables and scratch: 166 to 291 MiB in fresh processes,
#: including that of sampling, which is counted separately.
CPU_BYTES = 150 * 2**20
#: Memory of an accelerator's driver, and the share of its memory that is left free for fragmentation.
DRIVER_BYTES, SPARE = 600 * 2**20, 0.08
#: Factor of heap blocks on the CPU after tens of steps, because of holes that no other block fits into; see
#: docs/howto/training.md.
HOLES = 2
#: Memory that a stage leaves to the next on the CPU: libraries of TensorBoard and pictures, buffers; 0.13 GiB.
LEFT_BYTES = 130 * 2**20
_WARM_UP = 1
#: Number of feature maps of a frozen level that are live at once: input, skip, output.
_RUN_FEATURES = 3


@dataclass(frozen=True)
class Trial:
    """Measurements of a few real steps of a level, in a process that has run the levels before it.

    `base_bytes` is the memory before the first level.
    """

    base_bytes: int
    peak_bytes: int
    seconds_per_step: float


@dataclass(frozen=True)
class LevelPlan:
    """Plan of one level.

    Attributes
    ----------
    name : str
    shape : tuple of 3 int
        Largest input.
    batch : int
    step_bytes : int
        Prediction for the step alone: weights, Adam, activations, gradients.
    process_bytes : int
        Prediction for the whole process, or for all that it holds on the accelerator.
    maps_bytes : int
        Bytes of the label maps, which an accelerator keeps.
    steps : int or None
        None for a budget of seconds.
    trial : Trial or None
        Measurements of a few steps; None without a trial, and for a level that is not trained.
    """

    name: str
    shape: Shape
    batch: int
    step_bytes: int
    process_bytes: int
    maps_bytes: int
    steps: int | None
    trial: Trial | None = None


@dataclass(frozen=True)
class LargestFit:
    """Largest cube at a level's batch, and largest batch at its crop, that fit into some memory."""

    memory_bytes: int
    edge: int
    batch: int


def plan_levels(
    config: TrainingConfig, *, steps: int = 8, report: Callable[[str], None] = lambda line: None
) -> tuple[LevelPlan, ...]:
    """Predict every level's memory, and optionally run a few steps of each in a fresh process.

    Parameters
    ----------
    config : TrainingConfig
    steps : int
        Number of trial steps after one warm-up step; 0 for no trial and no time.
    report : callable(str)
    """
    maps = load_maps(config, report)
    trials = try_levels(config, steps, first_heads(config, maps)) if steps else {}
    # The configured device need not be present.
    on_cpu = (choose_device() if config.device == "auto" else config.device) == "cpu"
    base = next((trial.base_bytes for trial in trials.values()), resident_bytes())
    out = []
    for position, level in enumerate(config.levels):
        heads = heads_of_stage(config, maps, position)
        usual, largest = (level.crop or shape for shape in sizes(config, position, heads))
        _, head = sizes(config, 0, heads)
        memory = step_memory(config, position, largest)
        ready = READY * (memory if usual == largest else step_memory(config, position, usual)).pair
        kept = held = maps_bytes(config, maps, level.labelmap_mm)
        if on_cpu:  # memory before the first level, including the maps
            held = base + CPU_BYTES + HOLES * memory.heap + (LEFT_BYTES if position else 0)
        plan = LevelPlan(
            name=f"{2.0**level.exponent:g} mm",
            shape=largest,
            batch=config.batch,
            step_bytes=memory.peak,
            process_bytes=held + memory.peak + ready + _drawing_bytes(config, position, largest, head),
            maps_bytes=kept,
            steps=level.steps,
            trial=trials.get(position),
        )
        report(_line(plan))
        out.append(plan)
    return tuple(out)


def _line(plan: LevelPlan) -> str:
    predicted = f"level of {plan.name}: {plan.process_bytes / 2**30:.2f} GiB predicted"
    if plan.trial is None:
        return predicted
    share = plan.process_bytes / plan.trial.peak_bytes - 1
    tried = f"{plan.trial.peak_bytes / 2**30:.2f} tried ({share:+.0%}), {plan.trial.seconds_per_step:.2f} s a step"
    return f"{predicted}, {tried}"


def _drawing_bytes(config: TrainingConfig, position: int, shape: Shape, head: Shape) -> int:
    """Return the memory for sampling a pair of this shape, from a head of shape `head` at the coarsest level."""
    return DRAW_BYTES + DRAW_BYTES_PER_VOXEL * math.prod(shape) + _frozen_bytes(config, position, head)


def _frozen_bytes(config: TrainingConfig, position: int, head: Shape) -> int:
    """Return the memory of the levels above while a pair is sampled: all targets, and the largest level's run."""
    target = config.levels[position]
    voxels = [math.prod(head)]
    for above in range(1, position):
        scale = 2 ** (position - above)
        whole = tuple(n * 2**above for n in head)
        crop = target.crop if target.crop is not None else tuple(n * scale for n in whole)
        voxels.append(math.prod(min(n, -(-c // scale) + 2 * target.halo) for n, c in zip(whole, crop, strict=True)))
    runs = [
        n * (2 * N_CLASSES + _RUN_FEATURES * config.levels[above].channels[0])
        for above, n in enumerate(voxels[:position])
    ]
    return 4 * (sum(n * (1 + N_CLASSES) for n in voxels[:position]) + max(runs, default=0))


@dataclass(frozen=True)
class Line:
    """Memory of a level on an accelerator as a linear function of the voxels of a batch.

    Attributes
    ----------
    fixed_bytes, bytes_per_voxel : float
    stride : int
        Alignment of crop sizes in voxels.
    crop : tuple of 3 int
        The configured crop.
    batch : int
        The configured batch size.
    """

    fixed_bytes: float
    bytes_per_voxel: float
    stride: int
    crop: Shape
    batch: int

    def fit(self, memory_bytes: int) -> LargestFit:
        """Return what fits into an accelerator's memory, less the driver's share and a reserve for fragmentation."""
        voxels = (memory_bytes * (1 - SPARE) - DRIVER_BYTES - self.fixed_bytes) / self.bytes_per_voxel
        if voxels <= 0:
            return LargestFit(memory_bytes, 0, 0)
        edge = int((voxels / self.batch) ** (1 / 3) / self.stride + 1e-6) * self.stride
        x, y, z = self.crop
        return LargestFit(memory_bytes, edge, int(voxels / (x * y * z)))


def line_of(config: TrainingConfig, level: LevelPlan, position: int) -> Line:
    """Return the memory of a level as a linear function, from predictions at two sizes."""
    stride = 2 * build(config.model_copy(update={"start": None})).level(position).stride
    sizes = []
    for edge in (4 * stride, 8 * stride):
        memory = step_memory(config, position, (edge, edge, edge), batch=1)
        taken = level.maps_bytes + memory.peak + READY * memory.pair + DRAW_BYTES + DRAW_BYTES_PER_VOXEL * edge**3
        sizes.append((edge**3, taken))
    (v, a), (w, b) = sizes
    slope = (b - a) / (w - v)
    return Line(a - slope * v, slope, stride, level.shape, config.batch)


def try_levels(config: TrainingConfig, steps: int, heads: dict[int, Grid]) -> dict[int, Trial]:
    """Run a few training steps of every level in one fresh process, starting with the largest head."""
    with TemporaryDirectory(prefix="lodbrain-plan-") as folder:
        changes = {
            "seed": max(heads, key=lambda seed: math.prod(heads[seed].shape), default=config.seed),
            "levels": tuple(
                level if level.steps == 0 else level.model_copy(update={"steps": steps + _WARM_UP, "seconds": None})
                for level in config.levels
            ),
            "out": Path(folder),
            "fine_labelmaps": config.fine_labelmaps or config.out,
            "validate_on": (),
            "report_on": (),
        }
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_trials, config.model_copy(update=changes)).result()


def _trials(config: TrainingConfig) -> dict[int, Trial]:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trials = {}
    with join(config.device) as workers:
        run = TrainingRun(config, workers, lambda line: None, accept_changes=False)
        base = held_bytes(workers.device)
        for position, level in enumerate(config.levels):
            if level.steps != 0:
                outcome = run.level(position)
                trials[position] = Trial(base, outcome.peak_bytes, outcome.seconds_per_step)
    return trials
