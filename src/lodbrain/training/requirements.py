"""Memory and time that a training requires, measured in a trial, and the crops that fit into accelerators."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lodbrain.synthesis.fields import Grid
from lodbrain.training.config import TrainingConfig
from lodbrain.training.heads import first_heads, heads_of_stage, largest_shape
from lodbrain.training.maps import load_maps, maps_bytes
from lodbrain.training.pairs import READY
from lodbrain.training.samples import Voxels
from lodbrain.training.step_memory import step_memory
from lodbrain.training.training_run import TrainingRun, build
from lodbrain.training.workers import join

#: Memory for sampling a scan in addition to the pair: per voxel, and for the points sampled at a time.
DRAW_BYTES_PER_VOXEL, DRAW_BYTES = 40, 150 * 2**20
#: Memory of an accelerator's driver, and the share of its memory that is left free for fragmentation.
DRIVER_BYTES, SPARE = 600 * 2**20, 0.08
_WARM_UP = 1


@dataclass(frozen=True)
class Trial:
    """Measurements of a few real steps of a level, in a process that has run the levels before it.

    On the CPU `peak_bytes` is that of the process, which grows by up to 40% over the first tens of steps.
    """

    peak_bytes: int
    seconds_per_step: float


@dataclass(frozen=True)
class LevelRequirements:
    """Requirements of one level.

    Attributes
    ----------
    shape : tuple of 3 int
        Largest input.
    step_bytes : int
        Count of all tensors of a step: weights, Adam, activations, gradients.
    maps_bytes : int
        Bytes of the label maps, which an accelerator keeps.
    steps : int or None
        None for a budget of seconds.
    trial : Trial or None
        None without a trial, and for a level that is not trained.
    """

    name: str
    shape: Voxels
    step_bytes: int
    maps_bytes: int
    steps: int | None
    trial: Trial | None


def measure_requirements(
    config: TrainingConfig, *, steps: int = 8, report: Callable[[str], None] = lambda line: None
) -> tuple[LevelRequirements, ...]:
    """Return the requirements of every level.

    Parameters
    ----------
    config : TrainingConfig
        Its device need not be present if there is no trial.
    steps : int
        Number of trial steps of each level after one warm-up step; 0 for no trial.
    """
    maps = load_maps(config, report)
    trials = _try_levels(config, steps, first_heads(config, maps)) if steps else {}
    out = []
    for position, level in enumerate(config.levels):
        shape = level.crop or largest_shape(config, position, heads_of_stage(config, maps, position))
        out.append(
            LevelRequirements(
                name=f"{2.0**level.exponent:g} mm",
                shape=shape,
                step_bytes=step_memory(config, position, shape).peak,
                maps_bytes=maps_bytes(config, maps, level.labelmap_mm),
                steps=level.steps,
                trial=trials.get(position),
            )
        )
    return tuple(out)


@dataclass(frozen=True)
class AcceleratorMemory:
    """Memory of a level on an accelerator as a linear function of the voxels of a batch.

    Attributes
    ----------
    stride : int
        Alignment of crop sizes in voxels.
    """

    fixed_bytes: float
    bytes_per_voxel: float
    stride: int
    crop: Voxels
    batch: int

    def largest(self, memory_bytes: int) -> tuple[int, int]:
        """Return the edge of the largest cube at this batch, and the largest batch at this crop; 0 if none fits.

        The driver's share and a reserve for fragmentation are left free.
        """
        voxels = (memory_bytes * (1 - SPARE) - DRIVER_BYTES - self.fixed_bytes) / self.bytes_per_voxel
        if voxels <= 0:
            return 0, 0
        edge = int((voxels / self.batch) ** (1 / 3) / self.stride + 1e-6) * self.stride
        return edge, int(voxels / math.prod(self.crop))


def accelerator_memory(config: TrainingConfig, level: LevelRequirements, position: int) -> AcceleratorMemory:
    """Return the memory of a level as a linear function, from counts at two sizes."""
    stride = 2 * build(config.model_copy(update={"start": None})).level(position).stride
    voxels, taken = [], []
    for edge in (4 * stride, 8 * stride):
        memory = step_memory(config, position, (edge, edge, edge), batch=1)
        voxels.append(edge**3)
        taken.append(memory.peak + READY * memory.pair + DRAW_BYTES_PER_VOXEL * edge**3)
    slope = (taken[1] - taken[0]) / (voxels[1] - voxels[0])
    fixed = taken[0] - slope * voxels[0] + level.maps_bytes + DRAW_BYTES
    return AcceleratorMemory(fixed, slope, stride, level.shape, config.batch)


def _try_levels(config: TrainingConfig, steps: int, heads: dict[int, Grid]) -> dict[int, Trial]:
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
        for position, level in enumerate(config.levels):
            if level.steps != 0:
                outcome = run.level(position)
                trials[position] = Trial(outcome.peak_bytes, outcome.seconds_per_step)
    return trials
