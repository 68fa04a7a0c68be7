import math
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lodbrain.training.config import TrainingConfig
from lodbrain.training.heads import SEEDS, first_heads, heads_of_stage, largest_shape
from lodbrain.training.maps import load_maps
from lodbrain.training.requirements import (
    DRIVER_BYTES,
    SPARE,
    AcceleratorMemory,
    accelerator_memory,
    measure_requirements,
)
from lodbrain.training.sources import geometry_of, make_sources
from lodbrain.training.stage import stage_seed
from lodbrain.training.step_memory import step_memory
from lodbrain.training.training_run import build, train

MakeConfig = Callable[..., TrainingConfig]


def test_fit_is_the_largest_that_stays_below_the_memory() -> None:
    line = AcceleratorMemory(fixed_bytes=100 * 2**20, bytes_per_voxel=1000, stride=8, crop=(64, 64, 64), batch=1)
    memory = 8 * 10**9
    edge, batch = line.largest(memory)

    def takes(voxels: int) -> float:
        return (line.fixed_bytes + 1000 * voxels + DRIVER_BYTES) / (1 - SPARE)

    assert takes(edge**3) <= memory < takes((edge + 8) ** 3)
    assert takes(batch * 64**3) <= memory < takes((batch + 1) * 64**3)
    assert edge % 8 == 0
    assert AcceleratorMemory(100.0, 1000, 8, (64, 64, 64), 1).largest(10**6) == (0, 0)


def test_step_of_every_level_is_counted_without_a_trial(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    levels = measure_requirements(config, steps=0)
    assert [level.name for level in levels] == ["8 mm", "4 mm"]
    assert levels[1].shape == (12, 16, 12)
    assert levels[1].step_bytes == step_memory(config, 1, (12, 16, 12)).peak
    assert all(level.trial is None for level in levels)


def test_memory_of_an_accelerator_is_counted_where_there_is_none(make_config: MakeConfig, folder: Path) -> None:
    here, there = (
        measure_requirements(make_config(labelmaps=folder, device=name), steps=0) for name in ("cpu", "cuda")
    )
    assert [level.step_bytes for level in there] == [level.step_bytes for level in here]


def test_accelerator_keeps_the_label_maps_and_their_finer_versions(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder, device="cuda")
    voxels = sum(labels.codes.numel() for labels in load_maps(config, lambda line: None).values())
    finer = [config.levels[0], config.levels[1].model_copy(update={"labelmap_mm": 2.5})]  # the maps are of 5 mm
    coarse, fine = measure_requirements(config.model_copy(update={"levels": tuple(finer)}), steps=0)
    assert (coarse.maps_bytes, fine.maps_bytes) == (2 * voxels, 2 * voxels * (1 + 8))
    _, without = measure_requirements(config, steps=0)
    more = accelerator_memory(config, fine, 1).fixed_bytes - accelerator_memory(config, without, 1).fixed_bytes
    assert more == pytest.approx(16 * voxels)


def test_memory_grows_in_proportion_to_the_voxels(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    level = measure_requirements(config, steps=0)[1]
    line = accelerator_memory(config, level, 1)
    memory = step_memory(config, 1, (48, 48, 48))
    assert line.bytes_per_voxel * 48**3 == pytest.approx(memory.peak + 2 * memory.pair + 40 * 48**3, rel=0.1)


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
    assert fine.trial.peak_bytes > fine.step_bytes
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
    assert planned.trial.peak_bytes > planned.step_bytes
    # In a process of its own, as a user does: this one has held much before.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        lines = pool.submit(_lines_of_training, config).result()
    peak = float(re.findall(r"peak_gib (\S+)", " ".join(lines))[-1])
    assert planned.trial.peak_bytes / 2**30 == pytest.approx(peak, rel=0.15)


def _lines_of_training(config: TrainingConfig) -> list[str]:
    lines: list[str] = []
    train(config, report=lines.append)
    return lines
