import math
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import load_maps
from lodbrain.training.requirements import (
    SEEDS,
    Trial,
    first_heads,
    heads_of_stage,
    largest_shape,
    measure_requirements,
)
from lodbrain.training.sources import geometry_of, make_sources
from lodbrain.training.stage import stage_seed
from lodbrain.training.training_run import build, train

MakeConfig = Callable[..., TrainingConfig]


def test_training_fits_with_room_to_grow() -> None:
    trial = Trial(peak_bytes=10 * 10**9, seconds_per_step=1.0)
    assert [trial.fits(n * 10**9) for n in (9, 10, 13, 14, 15)] == [False, False, False, True, True]


def test_largest_inputs_are_known_without_a_trial(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    levels = measure_requirements(config, steps=0)
    assert [level.name for level in levels] == ["8 mm", "4 mm"]
    assert levels[1].shape == (12, 16, 12)
    assert all(level.trial is None for level in levels)


def test_trial_goes_through_the_levels_that_are_trained_and_leaves_nothing(
    make_config: MakeConfig, folder: Path, tmp_path: Path
) -> None:
    levels = [
        {"exponent": 3, "channels": [4, 8], "steps": 0},
        {"exponent": 2, "channels": [4, 8], "steps": 4, "sided": False, "crop": [12, 16, 12], "halo": 4},
    ]
    config = make_config(labelmaps=folder, levels=levels, joint={"steps": 1}, device="cpu")
    coarse, fine = measure_requirements(config, steps=1)
    assert coarse.trial is None
    assert fine.trial is not None
    assert fine.trial.seconds_per_step > 0
    pair_bytes = 4 * 12 * 16 * 12 * (1 + 33)
    assert fine.trial.peak_bytes > pair_bytes
    assert not config.out.exists()


def test_trial_begins_with_the_largest_of_some_heads(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    heads = first_heads(config, maps)
    assert len(heads) == SEEDS
    samples = make_sources(config, geometry_of(config, build(config)), maps, 0).training
    assert samples is not None
    for seed in list(heads)[:3]:
        first = stage_seed(config.model_copy(update={"seed": seed}), 0, 0)
        whole = heads[seed].coarser(2).shape
        assert samples.sample(first, 0).views[0].image.shape == whole


def test_heads_are_those_that_a_stage_draws(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    heads = heads_of_stage(config, maps, 0)
    assert len(heads) == config.levels[0].steps
    samples = make_sources(config, geometry_of(config, build(config)), maps, 0).training
    assert samples is not None
    seen = [samples.sample(stage_seed(config, 0, n), 0).views[0].image.shape for n in range(len(heads))]
    assert [grid.coarser(2).shape for grid in heads] == seen
    assert largest_shape(config, 0, heads) == measure_requirements(config, steps=0)[0].shape == max(seen, key=math.prod)
    assert largest_shape(config, 1, []) == (256, 256, 256)


@pytest.mark.slow
def test_training_takes_what_the_trial_took(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(
        labelmaps=folder,
        levels=[{"exponent": 2, "channels": [16, 32, 64], "steps": 4}],
        generator={"field_of_view": {"voxel_mm": [3.4, 3.5]}},
        device="cpu",
    )
    heads = first_heads(config, load_maps(config, lambda line: None))
    config = config.model_copy(update={"seed": max(heads, key=lambda seed: math.prod(heads[seed].shape))})
    planned = measure_requirements(config, steps=3)[0]
    assert planned.trial is not None
    # In a process of its own, as a user does: this one has held much before.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        lines = pool.submit(_lines_of_training, config).result()
    peak = float(re.findall(r"peak_gib (\S+)", " ".join(lines))[-1])
    assert planned.trial.peak_bytes / 2**30 == pytest.approx(peak, rel=0.15)


def _lines_of_training(config: TrainingConfig) -> list[str]:
    lines: list[str] = []
    train(config, report=lines.append)
    return lines
