"""Memory and time that a training requires, measured in a trial."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import load_maps
from lodbrain.training.samples import Voxels, drawn
from lodbrain.training.sources import generator_of
from lodbrain.training.stage import stage_seed
from lodbrain.training.training_run import TrainingRun
from lodbrain.training.workers import join

#: Number of a stage's examples that are sampled; each takes four milliseconds. Later ones are rarely larger.
MOST_EXAMPLES = 1000
#: Number of seeds among which a trial searches for one that starts with a large head.
SEEDS = 64
#: A training takes up to this much more than its trial: see docs/howto/training.md.
GROWTH = 1.4
_WARM_UP = 1


@dataclass(frozen=True)
class Trial:
    """Measurements of a few real steps of a level, in a process that has run the levels before it.

    `peak_bytes` is that of the process on the CPU, of all tensors on an accelerator.
    """

    peak_bytes: int
    seconds_per_step: float

    def fits(self, memory_bytes: int) -> bool:
        """Return whether a training of this level fits into a memory, with room for `GROWTH`."""
        return GROWTH * self.peak_bytes <= memory_bytes


@dataclass(frozen=True)
class LevelRequirements:
    """Requirements of one level: its largest input, number of steps, and trial.

    `steps` is None for a budget of seconds, `trial` without a trial and for a level that is not trained.
    """

    name: str
    shape: Voxels
    steps: int | None
    trial: Trial | None


def measure_requirements(
    config: TrainingConfig, *, steps: int = 8, report: Callable[[str], None] = lambda line: None
) -> tuple[LevelRequirements, ...]:
    """Return the requirements of every level, from a trial of `steps` steps after one warm-up step; 0 for no trial."""
    maps = load_maps(config, report)
    trials = _try_levels(config, steps, first_heads(config, maps)) if steps else {}
    out = []
    for position, level in enumerate(config.levels):
        out.append(
            LevelRequirements(
                name=f"{2.0**level.exponent:g} mm",
                shape=level.crop or largest_shape(config, position, heads_of_stage(config, maps, position)),
                steps=level.steps,
                trial=trials.get(position),
            )
        )
    return tuple(out)


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


def heads_of_stage(config: TrainingConfig, maps: Mapping[str, LabelMap], number: int) -> list[Grid]:
    """Return the grids of the scans that stage `number` of one process samples, in order; empty without label maps."""
    steps = config.levels[number].steps
    n = MOST_EXAMPLES if steps is None else min(MOST_EXAMPLES, steps * config.batch * config.accumulate)
    return _heads(config, maps, [stage_seed(config, number, index) for index in range(n)])


def first_heads(config: TrainingConfig, maps: Mapping[str, LabelMap]) -> dict[int, Grid]:
    """Return the grid of the first scan for each of several seeds of a run, as sampled by its first stage."""
    seeds = range(config.seed, config.seed + SEEDS)
    first = [stage_seed(config.model_copy(update={"seed": seed}), 0, 0) for seed in seeds]
    return dict(zip(seeds, _heads(config, maps, first), strict=False))


def _heads(config: TrainingConfig, maps: Mapping[str, LabelMap], seeds: Sequence[int]) -> list[Grid]:
    own, settings = [maps[name] for name in config.train], generator_of(config)
    return [drawn(seed, own, settings)[1].scan for seed in seeds] if own else []


def largest_shape(config: TrainingConfig, position: int, heads: Sequence[Grid]) -> Voxels:
    """Return the largest shape of heads on a level's grid; a cube of 256 mm at 1 mm without heads."""
    factor = 2 ** (len(config.levels) - 1 - position)
    if not heads:
        return (256 // factor,) * 3
    return max((scan.coarser(factor).shape for scan in heads), key=math.prod)
