import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lodbrain.training import plan
from lodbrain.training.config import TrainingConfig
from lodbrain.training.memory import step_memory
from lodbrain.training.plan import DRIVER_BYTES, SPARE, Line, Trial, line_of, plan_levels
from lodbrain.training.run import train

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


def test_memory_grows_in_proportion_to_the_voxels(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    level = plan_levels(config, steps=0)[1]
    line = line_of(config, level, 1)
    memory = step_memory(config, 1, (48, 48, 48))
    assert line.bytes_per_voxel * 48**3 == pytest.approx(memory.peak + 2 * memory.pair + 40 * 48**3, rel=0.1)


def test_what_is_predicted_for_the_process_is_put_right_by_the_trial(
    make_config: MakeConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(labelmaps=folder)
    untried = plan_levels(config, steps=0)
    bases = iter([10**9, 10**9])

    def trial(config: TrainingConfig, position: int, steps: int) -> Trial:
        base = next(bases)
        shape = untried[position].shape
        head = untried[0].shape
        own = plan._process_bytes(config, position, shape, head, 0)
        return Trial(shape, head, base, base + round(0.8 * own), 1.0)

    monkeypatch.setattr(plan, "try_level", trial)
    for level in plan_levels(config):
        assert level.trial is not None
        assert level.process_bytes == pytest.approx(level.trial.peak_bytes, abs=2)


@pytest.mark.slow
def test_training_takes_what_the_plan_says(make_config: MakeConfig, folder: Path) -> None:
    levels = [{"exponent": 2, "channels": [16, 32, 64], "steps": 8}]
    config = make_config(
        labelmaps=folder, levels=levels, generator={"field_of_view": {"voxel_mm": [2.2, 2.4]}}, device="cpu"
    )
    planned = plan_levels(config, steps=4)[0]
    # In a process of its own, as a user does: this one has held much before.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        lines = pool.submit(_lines_of_training, config).result()
    peak = float(re.findall(r"peak_gib (\S+)", " ".join(lines))[-1])
    assert planned.process_bytes / 2**30 == pytest.approx(peak, rel=0.15)
    assert planned.trial is not None
    assert planned.trial.seconds_per_step > 0


def _lines_of_training(config: TrainingConfig) -> list[str]:
    lines: list[str] = []
    train(config, report=lines.append)
    return lines
