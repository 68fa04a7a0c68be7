"""What a training will take, before its first step: memory and time per level, and what would fit into other memory."""

from __future__ import annotations

import gc
import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count

import psutil
import torch

from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.generator import draw_plan
from lodbrain.synthesis.labelmaps import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.levels import LevelLoss, channels_last, checkpoint_blocks
from lodbrain.training.maps import load_maps
from lodbrain.training.memory import Shape, step_memory
from lodbrain.training.pairs import PairSource, collate, prefetch
from lodbrain.training.peak import Peak, held_bytes
from lodbrain.training.run import build
from lodbrain.training.scenes import Scene, Scenes
from lodbrain.training.sources import generator_of, geometry_of, make_sources
from lodbrain.training.stage import stage_seed
from lodbrain.training.workers import device_named

#: Batches that lie ready, or are being drawn, while one is trained on.
READY = 2
#: What drawing one scan takes besides the pair itself, per voxel and for the points it samples at a time.
DRAW_BYTES_PER_VOXEL, DRAW_BYTES = 40, 150 * 2**20
#: What the CPU's kernels take on first use: code, tables and scratch; 166 to 291 MiB in fresh processes, of which the
#: draw's share is counted apart.
CPU_BYTES = 150 * 2**20
#: What an accelerator's driver takes for itself, and the share of its memory that is left free for fragments.
DRIVER_BYTES, SPARE = 600 * 2**20, 0.08
#: Heads whose size is drawn to find the largest.
HEADS = 64
_WARM_UP = 1
#: Feature maps of a frozen level that are alive at once: input, skip, output.
_RUN_FEATURES = 3


@dataclass(frozen=True)
class Trial:
    """What a few real steps took, in a process of their own: their largest input, and the largest whole head."""

    shape: Shape
    head: Shape
    base_bytes: int
    peak_bytes: int
    seconds_per_step: float


@dataclass(frozen=True)
class LevelPlan:
    """One level.

    Attributes
    ----------
    name : str
    shape : tuple of 3 int
        Largest input.
    batch : int
    step_bytes : int
        Predicted for the step alone: weights, Adam, activations, gradients.
    process_bytes : int
        For the whole process, or for all that it holds on the accelerator: predicted, and after a trial put right by
        how far its own prediction was off.
    steps : int or None
        None for a budget of seconds.
    trial : Trial or None
        What a few steps then took.
    trial_bytes : int or None
        Predicted for the process of the trial, whose heads may be smaller than the largest.
    """

    name: str
    shape: Shape
    batch: int
    step_bytes: int
    process_bytes: int
    steps: int | None
    trial: Trial | None = None
    trial_bytes: int | None = None


@dataclass(frozen=True)
class Fit:
    """What fits into some memory, for one level: the largest cube at its batch, the largest batch at its crop."""

    memory_bytes: int
    edge: int
    batch: int


def plan_levels(
    config: TrainingConfig, *, steps: int = 4, report: Callable[[str], None] = lambda line: None
) -> tuple[LevelPlan, ...]:
    """Predict every level's memory, then try a few steps of each in a fresh process.

    Parameters
    ----------
    config : TrainingConfig
    steps : int
        Of the trial, after one to warm up; 0 for no trial, and no time.
    report : callable(str)
    """
    maps = load_maps(config, report)
    base = psutil.Process().memory_info().rss
    out = []
    for position, level in enumerate(config.levels):
        shape = _largest(config, maps, position)
        trial = try_level(config, position, steps) if steps else None
        base = base if trial is None else trial.base_bytes
        process = _process_bytes(config, position, shape, _largest(config, maps, 0), base)
        trial_bytes = None if trial is None else _process_bytes(config, position, trial.shape, trial.head, base)
        plan = LevelPlan(
            name=f"{2.0**level.exponent:g} mm",
            shape=shape,
            batch=config.batch,
            step_bytes=step_memory(config, position, shape).peak,
            process_bytes=process if trial is None else _as_tried(process, trial, trial_bytes),
            steps=level.steps,
            trial=trial,
            trial_bytes=trial_bytes,
        )
        report(_line(plan))
        out.append(plan)
    return tuple(out)


def _as_tried(predicted: int, trial: Trial, trial_predicted: int | None) -> int:
    """A prediction, its part above what was held before in proportion to what the trial took of its own."""
    assert trial_predicted is not None
    share = (trial.peak_bytes - trial.base_bytes) / (trial_predicted - trial.base_bytes)
    return trial.base_bytes + round((predicted - trial.base_bytes) * share)


def _line(plan: LevelPlan) -> str:
    if plan.trial is None or plan.trial_bytes is None:
        return f"level of {plan.name}: {plan.process_bytes / 2**30:.2f} GiB predicted"
    share = plan.trial_bytes / plan.trial.peak_bytes - 1
    return (
        f"level of {plan.name}, trial of {plan.trial.shape}: {plan.trial_bytes / 2**30:.2f} GiB predicted, "
        f"{plan.trial.peak_bytes / 2**30:.2f} measured ({share:+.0%}), {plan.trial.seconds_per_step:.2f} s a step"
    )


def _process_bytes(config: TrainingConfig, position: int, shape: Shape, head: Shape, base: int) -> int:
    """Predicted peak of a process that holds `base` bytes before the level's first step.

    `head` is the shape of the whole head at the coarsest level.
    """
    memory = step_memory(config, position, shape)
    kernels = 0 if config.device.startswith(("cuda", "rocm")) else CPU_BYTES
    drawn = DRAW_BYTES + DRAW_BYTES_PER_VOXEL * math.prod(shape) + _frozen_bytes(config, position, head)
    return base + kernels + memory.peak + READY * memory.pair + drawn


def _frozen_bytes(config: TrainingConfig, position: int, head: Shape) -> int:
    """What a pair takes while it is drawn, of the levels above: all their targets, and the largest level's run."""
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
    """Memory of a level on an accelerator: it grows in proportion to the voxels of a batch.

    Attributes
    ----------
    fixed_bytes, bytes_per_voxel : float
    stride : int
        Edges of crops are multiples of this.
    crop : tuple of 3 int
        The configured one.
    batch : int
        The configured one.
    """

    fixed_bytes: float
    bytes_per_voxel: float
    stride: int
    crop: Shape
    batch: int

    def fit(self, memory_bytes: int) -> Fit:
        """What fits into all of an accelerator's memory; the driver's share and some for fragments are left free."""
        voxels = (memory_bytes * (1 - SPARE) - DRIVER_BYTES - self.fixed_bytes) / self.bytes_per_voxel
        if voxels <= 0:
            return Fit(memory_bytes, 0, 0)
        edge = int((voxels / self.batch) ** (1 / 3) / self.stride + 1e-6) * self.stride
        x, y, z = self.crop
        return Fit(memory_bytes, edge, int(voxels / (x * y * z)))


def line_of(config: TrainingConfig, level: LevelPlan, position: int) -> Line:
    """How a level's memory grows, from predictions at two sizes."""
    stride = 2 * build(config.model_copy(update={"start": None})).level(position).stride
    sizes = []
    for edge in (4 * stride, 8 * stride):
        memory = step_memory(config, position, (edge, edge, edge), batch=1)
        taken = memory.peak + READY * memory.pair + DRAW_BYTES + DRAW_BYTES_PER_VOXEL * edge**3
        sizes.append((edge**3, taken))
    (v, a), (w, b) = sizes
    slope = (b - a) / (w - v)
    return Line(a - slope * v, slope, stride, level.shape, config.batch)


def _largest(config: TrainingConfig, maps: dict[str, LabelMap], position: int) -> Shape:
    """The crop, or of a level without one the largest whole head among some."""
    crop = config.levels[position].crop
    if crop is not None:
        return crop
    factor = 2 ** (len(config.levels) - 1 - position)
    shapes = []
    for seed in range(HEADS):
        if not config.train:
            return (256 // factor,) * 3
        random = torch.Generator().manual_seed(seed)
        plan = draw_plan(maps[config.train[seed % len(config.train)]], generator_of(config), random)
        shapes.append(plan.scan.coarser(factor).shape)
    return max(shapes, key=lambda shape: shape[0] * shape[1] * shape[2])


def try_level(config: TrainingConfig, position: int, steps: int) -> Trial:
    """Run a few real steps of a level in a fresh process; the levels above it are untrained."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_trial, config, position, steps).result()


def _trial(config: TrainingConfig, position: int, steps: int) -> Trial:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = torch.device(device_named(config.device))
    network = build(config).to(device)
    maps = {name: labels.to(device) for name, labels in load_maps(config, lambda line: None).items()}
    scenes = make_sources(config, geometry_of(config, network), maps, position, device=device).training
    assert scenes is not None
    level = network.level(position)
    network.eval().requires_grad_(False)
    channels_last(level.train().requires_grad_(True))
    if config.checkpointing:
        checkpoint_blocks(level)
    optimizer = torch.optim.AdamW(level.parameters())
    ema = {name: value.clone() for name, value in level.state_dict().items()}
    loss = LevelLoss(level, config.losses, bfloat16=config.autocasts)
    heads: list[torch.Size] = []
    source = PairSource(network, position, _Watched(scenes, heads), config.corruption, bfloat16=config.autocasts)
    gc.collect()
    base = held_bytes(device)
    peak = Peak(device)
    pairs = prefetch(source.draw, (stage_seed(config, position, n) for n in count()), device=device)
    times, shapes = [], []
    for step in range(_WARM_UP + steps):
        began = time.monotonic()
        for _ in range(config.accumulate):
            pair = collate([next(pairs) for _ in range(config.batch)])
            shapes.append(pair.image.shape[2:])
            (loss(pair) / config.accumulate).backward()
        norm = torch.nn.utils.clip_grad_norm_(level.parameters(), config.clip)
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for name, value in level.state_dict().items():
            ema[name].lerp_(value.detach(), 0.1)
        if step >= _WARM_UP:
            times.append(time.monotonic() - began)
    pairs.close()
    x, y, z = max(shapes, key=lambda shape: shape.numel())
    u, v, w = max(heads, key=lambda shape: shape.numel())
    return Trial((x, y, z), (u, v, w), base, peak.read(), sum(times) / len(times))


class _Watched:
    """Scenes whose whole heads' shapes are noted."""

    def __init__(self, scenes: Scenes, heads: list[torch.Size]) -> None:
        self.scenes, self.heads = scenes, heads

    def scene(self, seed: int, position: int) -> Scene:
        scene = self.scenes.scene(seed, position)
        self.heads.append(scene.views[0].image.shape)
        return scene
