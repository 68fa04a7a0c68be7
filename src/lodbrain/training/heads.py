"""Sizes of the heads that a run samples, which determine its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.samples import Voxels, drawn
from lodbrain.training.sources import generator_of
from lodbrain.training.stage import stage_seed

#: Number of a stage's examples that are sampled; each takes four milliseconds. Later ones are rarely larger.
MOST_EXAMPLES = 1000
#: Number of seeds among which a trial searches for one that starts with a large head.
SEEDS = 64


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
