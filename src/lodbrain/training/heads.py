"""Sizes of the heads that a run samples, which determine its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.scenes import drawn
from lodbrain.training.sources import generator_of
from lodbrain.training.stage import stage_seed
from lodbrain.training.step_memory import Shape

#: Number of a stage's examples that are sampled; each takes four milliseconds. Later ones are rarely larger.
MOST_EXAMPLES = 1000
#: Number of seeds among which a trial searches for one that starts with a large head.
SEEDS = 64


def heads_of_stage(config: TrainingConfig, maps: Mapping[str, LabelMap], number: int) -> list[Grid]:
    """Return the grids of the scans that a stage of one process samples, in order; empty without label maps.

    Parameters
    ----------
    maps : mapping of str to LabelMap
        By name.
    number : int
        Number of the stage: a level's position.
    """
    own, settings = [maps[name] for name in config.train], generator_of(config)
    steps = config.levels[number].steps
    n = MOST_EXAMPLES if steps is None else min(MOST_EXAMPLES, steps * config.batch * config.accumulate)
    return [drawn(stage_seed(config, number, index), own, settings)[1].scan for index in range(n)] if own else []


def first_heads(config: TrainingConfig, maps: Mapping[str, LabelMap]) -> dict[int, Grid]:
    """Return the grid of the first scan for each of several seeds of a run, as sampled by its first stage."""
    own, settings, heads = [maps[name] for name in config.train], generator_of(config), {}
    for seed in range(config.seed, config.seed + SEEDS) if own else ():
        first = stage_seed(config.model_copy(update={"seed": seed}), 0, 0)
        heads[seed] = drawn(first, own, settings)[1].scan
    return heads


def largest_shape(config: TrainingConfig, position: int, heads: Sequence[Grid]) -> Shape:
    """Return the largest shape of heads on a level's grid; a cube of 256 mm at 1 mm without heads."""
    factor = 2 ** (len(config.levels) - 1 - position)
    if not heads:
        return (256 // factor,) * 3
    return max((scan.coarser(factor).shape for scan in heads), key=math.prod)
