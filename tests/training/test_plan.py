import math
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lodbrain.training.config import TrainingConfig
from lodbrain.training.heads import SEEDS, first_heads, heads_of_stage, sizes
from lodbrain.training.maps import load_maps
from lodbrain.training.memory import step_memory
from lodbrain.training.plan import CPU_BYTES, DRIVER_BYTES, SPARE, Line, line_of, plan_levels
from lodbrain.training.run import build, train
from lodbrain.training.sources import geometry_of, make_sources
from lodbrain.training.stage import stage_seed

MakeConfig = Callable[..., TrainingConfig]


def test_fit_is_the_largest_that_stays_below_the_memory() -> None:
    line = Line(fixed_bytes=100 * 2**20, bytes_per_voxel=1000, stride=8, crop=(64, 64, 64), batch=1)
    memory = 8 * 10**9
    fit = line.fit(memory)

    def takes(voxels: int) -> float:
        return (line.fixed_bytes + 1000 * voxels + DRIVER_BYTES) / (1 - SPARE)

    assert takes(fit.edge**3) <= memory < takes((fit.edge + 8) ** 3)
    assert takes(fit.batch * 64**3) <= memory < takes((fit.batch + 1) * 64**3)
    assert fit.edge % 8 == 0
    assert Line(100.0, 1000, 8, (64, 64, 64), 1).fit(10**6).edge == 0


def test_plan_predicts_every_level_without_a_step(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    levels = plan_levels(config, steps=0)
    assert [level.name for level in levels] == ["8 mm", "4 mm"]
    assert levels[1].shape == (12, 16, 12)
    assert levels[1].step_bytes == step_memory(config, 1, (12, 16, 12)).peak
    assert all(level.process_bytes > level.step_bytes and level.trial is None for level in levels)


def test_plan_for_an_accelerator_needs_none_and_leaves_the_processor_out(make_config: MakeConfig, folder: Path) -> None:
    here, there = (plan_levels(make_config(labelmaps=folder, device=name), steps=0) for name in ("cpu", "cuda"))
    for one, other in zip(here, there, strict=True):
        assert other.step_bytes == one.step_bytes < other.process_bytes < one.process_bytes - CPU_BYTES


def test_accelerator_keeps_the_label_maps_and_their_finer_versions(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder, device="cuda")
    voxels = sum(labels.codes.numel() for labels in load_maps(config, lambda line: None).values())
    finer = [config.levels[0], config.levels[1].model_copy(update={"labelmap_mm": 2.5})]  # the maps are of 5 mm
    coarse, fine = plan_levels(config.model_copy(update={"levels": tuple(finer)}), steps=0)
    assert (coarse.maps_bytes, fine.maps_bytes) == (2 * voxels, 2 * voxels * (1 + 8))
    _, without = plan_levels(config, steps=0)
    assert fine.process_bytes == without.process_bytes + 16 * voxels
    more = line_of(config, fine, 1).fixed_bytes - line_of(config, without, 1).fixed_bytes
    assert more == pytest.approx(16 * voxels)


def test_memory_grows_in_proportion_to_the_voxels(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    level = plan_levels(config, steps=0)[1]
    line = line_of(config, level, 1)
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
    coarse, fine = plan_levels(config, steps=1)
    assert coarse.trial is None
    assert fine.trial is not None
    assert fine.trial.seconds_per_step > 0
    assert 0.5 < fine.process_bytes / fine.trial.peak_bytes < 2
    assert not config.out.exists()


def test_trial_begins_with_the_largest_of_some_heads(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    heads = first_heads(config, maps)
    assert len(heads) == SEEDS
    scenes = make_sources(config, geometry_of(config, build(config)), maps, 0).training
    assert scenes is not None
    for seed in list(heads)[:3]:
        first = stage_seed(config.model_copy(update={"seed": seed}), 0, 0)
        whole = heads[seed].coarser(2).shape
        assert scenes.scene(first, 0).views[0].image.shape == whole


def test_heads_are_those_that_a_stage_draws(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    heads = heads_of_stage(config, maps, 0)
    assert len(heads) == config.levels[0].steps
    scenes = make_sources(config, geometry_of(config, build(config)), maps, 0).training
    assert scenes is not None
    seen = [scenes.scene(stage_seed(config, 0, n), 0).views[0].image.shape for n in range(len(heads))]
    assert [grid.coarser(2).shape for grid in heads] == seen
    median, largest = sizes(config, 0, heads)
    assert largest == plan_levels(config, steps=0)[0].shape == max(seen, key=math.prod)
    assert math.prod(median) <= math.prod(largest)
    assert sizes(config, 1, []) == ((256, 256, 256), (256, 256, 256))


@pytest.mark.slow
def test_training_takes_what_the_plan_says(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(
        labelmaps=folder,
        levels=[{"exponent": 2, "channels": [16, 32, 64], "steps": 4}],
        generator={"field_of_view": {"voxel_mm": [3.4, 3.5]}},
        device="cpu",
    )
    heads = first_heads(config, load_maps(config, lambda line: None))
    config = config.model_copy(update={"seed": max(heads, key=lambda seed: math.prod(heads[seed].shape))})
    planned = plan_levels(config, steps=3)[0]
    assert planned.trial is not None
    # A few steps take less than the tens that the plan foresees: the heap has few holes yet, and whether the peaks of
    # drawing and of the step meet is chance. The plan was 22 to 36% above them; below them it must not be.
    assert 0.95 < planned.process_bytes / planned.trial.peak_bytes < 1.5
    # In a process of its own, as a user does: this one has held much before.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        lines = pool.submit(_lines_of_training, config).result()
    peak = float(re.findall(r"peak_gib (\S+)", " ".join(lines))[-1])
    assert planned.trial.peak_bytes / 2**30 == pytest.approx(peak, rel=0.15)


def _lines_of_training(config: TrainingConfig) -> list[str]:
    lines: list[str] = []
    train(config, report=lines.append)
    return lines
