import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lodbrain.errors import UsageError
from lodbrain.training import stage as stage_module
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import Budget
from lodbrain.training.stage import (
    Log,
    Outcome,
    TrainingStage,
    checkpoint_path,
    open_heads,
    place_of,
    run_stage,
    stage_seed,
)
from lodbrain.training.workers import Workers

MakeConfig = Callable[..., TrainingConfig]

ALONE = Workers(0, 1, torch.device("cpu"))


class _Loss(torch.nn.Module):
    """Of a straight line; in the batches of `bad` it is infinite."""

    def __init__(self, line: torch.nn.Module, bad: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.line, self.bad, self.calls = line, bad, 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        loss = (self.line(batch) - 3 * batch - 1).square().mean()
        return loss * (math.inf if self.calls in self.bad else 1)


def _stage(config: TrainingConfig, *, bad: tuple[int, ...] = (), seeds: list[int] | None = None) -> TrainingStage:
    torch.manual_seed(0)
    line = torch.nn.Linear(1, 1)

    def draw(seed: int, crop: int) -> torch.Tensor:
        if seeds is not None:
            seeds.append(seed)
        return torch.rand((1, 1), generator=torch.Generator().manual_seed(seed))

    return TrainingStage(
        name="line",
        number=0,
        network=line,
        loss=_Loss(line, bad),
        draw=draw,
        collate=torch.cat,
        validate=lambda: {"weight": float(line.weight.detach())},
        budget=config.levels[0],
        rate=0.05,
    )


def _run(stage: TrainingStage, config: TrainingConfig, log: Log = lambda step, values: None, **more: bool) -> Outcome:
    return run_stage(stage, config, workers=ALONE, log=log, **more)


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture
def config(make_config: MakeConfig) -> TrainingConfig:
    """Twenty steps, a checkpoint every four."""
    levels = [{"exponent": 3, "channels": [4], "steps": 20}]
    return make_config(levels=levels, checkpoint_every=4, validate_every=5, warm_up=0, weight_decay=0.0)


def test_training_goes_towards_the_answer(make_config: MakeConfig) -> None:
    levels = [{"exponent": 3, "channels": [4], "steps": 600}]
    config = make_config(
        levels=levels, ema=0.9, batch=4, validate_every=10**6, checkpoint_every=10**6, weight_decay=0.0
    )
    stage = _stage(config)
    assert _run(stage, config).steps == 600
    assert float(stage.network.weight) == pytest.approx(3, abs=0.1)  # type: ignore[arg-type]
    assert float(stage.network.bias) == pytest.approx(1, abs=0.1)  # type: ignore[arg-type]
    assert not any(p.requires_grad for p in stage.network.parameters())
    assert not stage.network.training


def test_step_without_a_finite_gradient_is_left_out_and_counted(config: TrainingConfig) -> None:
    outcome = _run(_stage(config, bad=(3, 7)), config)
    assert (outcome.steps, outcome.skipped) == (20, 2)
    found = load_checkpoint(checkpoint_path(config, "line"))
    assert found is not None
    assert found[1]["skipped"] == 2
    assert float(found[0]["step"]["weight"]) == 18  # Adam's own count
    assert all(bool(value.isfinite().all()) for value in found[0]["model"].values())


def test_interrupted_run_goes_on_to_the_same_result(config: TrainingConfig, tmp_path: Path) -> None:
    whole, broken = config, config.model_copy(update={"out": tmp_path / "broken"})
    # the steps left out lie before the interruption: the count that Adam corrects its averages by differs from the step
    _run(_stage(whole, bad=(2, 3)), whole)

    def interrupt(step: int, values: dict[str, float]) -> None:
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(_stage(broken, bad=(2, 3)), broken, interrupt)  # the last checkpoint is of step 8
    seeds: list[int] = []
    assert _run(_stage(broken, seeds=seeds), broken).skipped == 2
    assert seeds[0] == stage_seed(config, 0, 8)
    ends = [load_checkpoint(checkpoint_path(c, "line")) for c in (whole, broken)]
    assert ends[0] is not None
    assert ends[1] is not None
    for group in ("model", "ema", "exp_avg", "exp_avg_sq", "step"):
        assert _same(ends[0][0][group], ends[1][0][group]), group


def test_seconds_of_a_step_are_without_the_first_and_without_validation(config: TrainingConfig) -> None:
    stage = _stage(config)
    draw, validate = stage.draw, stage.validate
    first = stage_seed(config, 0, 0)

    def slow_draw(seed: int, crop: int) -> torch.Tensor:
        time.sleep(2 if seed == first else 0)
        return draw(seed, crop)

    def slow_validate() -> dict[str, float]:
        time.sleep(0.5)
        return validate()

    outcome = _run(replace(stage, draw=slow_draw, validate=slow_validate), config)
    assert 0 < outcome.seconds_per_step < 0.1
    assert outcome.seconds > 0
    assert outcome.peak_bytes > 0
    again = _run(_stage(config), config)
    assert (again.steps, again.seconds_per_step, again.peak_bytes) == (20, 0, outcome.peak_bytes)


def test_every_crop_of_every_head_comes_once_and_neighbours_are_of_different_heads() -> None:
    for crops, lanes in ((4, 3), (3, 2), (4, 4), (1, 1)):
        places = [place_of(index, crops=crops, lanes=lanes) for index in range(40 * crops * lanes)]
        assert len(set(places)) == len(places)
        heads = [head for head, _ in places]
        assert all(len(set(heads[n : n + lanes])) == lanes for n in range(len(heads) - lanes))
        # from the second head of each lane on, all crops
        complete = {head for head in heads[: -crops * lanes] if head >= lanes}
        assert all({crop for h, crop in places if h == head} == set(range(crops)) for head in complete)
    # with four crops and three lanes no two heads are opened one after the other
    opened = [index for index in range(100) if place_of(index, crops=4, lanes=3)[1] == 0]
    assert min(b - a for a, b in pairwise(opened)) > 1


def test_examples_of_a_step_are_of_different_heads_however_many_processes_share_it(config: TrainingConfig) -> None:
    batches = config.model_copy(update={"batch": 2, "accumulate": 2})
    assert open_heads(config, 4, 1) == 3
    assert open_heads(batches, 4, 1) == 4
    assert open_heads(batches, 4, 2) == 8
    # two processes together sample what one does that accumulates twice
    assert open_heads(config.model_copy(update={"accumulate": 2}), 4, 1) == open_heads(config, 4, 2) == 4


def test_complete_stage_is_not_trained_again(config: TrainingConfig) -> None:
    first = _stage(config)
    _run(first, config)
    again, seeds = _stage(config), list[int]()
    again = _stage(config, seeds=seeds)
    _run(again, config)
    assert seeds == []
    assert _same(again.network.state_dict(), first.network.state_dict())


def test_changed_configuration_stops_a_resumed_run(config: TrainingConfig) -> None:
    _run(_stage(config), config)
    changed = config.model_copy(update={"clip": 2.0})
    with pytest.raises(
        UsageError, match=r"line\.safetensors: was trained with other settings \(clip: was 1.0, is 2.0\)"
    ):
        _run(_stage(changed), changed)
    assert _run(_stage(changed), changed, accept_changes=True).steps == 20


def test_accumulated_batches_are_one_large_batch(config: TrainingConfig, tmp_path: Path) -> None:
    ends = []
    for name, sizes in {"large": (4, 1), "accumulated": (1, 4)}.items():
        own = config.model_copy(update={"out": tmp_path / name, "batch": sizes[0], "accumulate": sizes[1]})
        stage = _stage(own)
        _run(stage, own)
        ends.append(stage.network.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-5, atol=1e-6)


def test_stage_of_seconds_ends_and_stays_ended(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 0.25
        return now[0]

    monkeypatch.setattr("lodbrain.training.schedule.time.process_time", tick)
    levels = (config.levels[0].model_copy(update={"steps": None, "seconds": 12.0}),)
    config = config.model_copy(update={"levels": levels})
    first = _stage(config)
    assert isinstance(first.budget, Budget)
    steps = _run(first, config).steps
    assert 5 < steps < 50
    seeds: list[int] = []
    assert _run(_stage(config, seeds=seeds), config).steps == steps
    assert seeds == []


def test_averages_are_validated_and_kept(config: TrainingConfig) -> None:
    seen: list[float] = []
    stage = _stage(config)
    _run(stage, config, lambda step, values: seen.append(values["weight"]) if "weight" in values else None)
    found = load_checkpoint(checkpoint_path(config, "line"))
    assert found is not None
    assert seen[-1] == float(found[0]["ema"]["weight"]) == float(stage.network.weight)  # type: ignore[arg-type]
    assert not _same(found[0]["ema"], found[0]["model"])


def test_processes_share_the_examples_of_one_large_batch(make_config: MakeConfig) -> None:
    config = make_config(batch=2, accumulate=2)

    def seeds(rank: int, count: int, own: TrainingConfig, batches: int) -> list[int]:
        drawn: list[int] = []
        stage = _stage(own)
        stage = TrainingStage(**{**stage.__dict__, "draw": lambda seed, crop: seed, "collate": drawn.extend})
        batch = stage_module._batches(stage, own, Workers(rank, count, torch.device("cpu")), 1, torch.device("cpu"))
        for _ in range(batches):
            next(batch)
        batch.close()
        return [seed - stage_seed(own, 0, 0) for seed in drawn]

    # two processes with batches of 2, against one process with a batch of 4, from step 1 on
    assert seeds(0, 2, config, 2) == [8, 9, 12, 13]
    assert seeds(1, 2, config, 2) == [10, 11, 14, 15]
    assert seeds(0, 1, make_config(batch=4, accumulate=2), 2) == [8, 9, 10, 11, 12, 13, 14, 15]
