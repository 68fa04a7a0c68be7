import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from lodbrain.models.lod import Ladder
from lodbrain.synthesis.labelmaps import LabelMap
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.loop import (
    build_ladder,
    checkpoint_path,
    learning_rate,
    load_trained_levels,
    make_source,
    train_level,
    validate,
)

MakeConfig = Callable[..., TrainingConfig]
Log = Callable[[int, dict[str, float]], None]


def _train(config: TrainingConfig, head: LabelMap, position: int = 0, log: Log = lambda step, values: None) -> Ladder:
    ladder = build_ladder(config)
    load_trained_levels(ladder, config, position)
    training, validation = (
        make_source(ladder, position, config, [head], [head], training=flag) for flag in (True, False)
    )
    train_level(ladder, position, config, (training, validation), log=log)
    return ladder


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [learning_rate(step, 1000, 2.0, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[49] == pytest.approx(1.0)
    assert rates[99] == rates[100] == max(rates) == 2.0
    assert rates[550] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rates[325] == pytest.approx(2.0 * (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert learning_rate(1000, 1000, 2.0, 100) == pytest.approx(0.02)
    assert learning_rate(5000, 1000, 2.0, 100) == pytest.approx(0.02)


def test_seed_decides_the_untrained_weights(make_config: MakeConfig) -> None:
    one, two, other = (build_ladder(make_config(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert _same(one, two)
    assert not _same(one, other)


def test_building_a_ladder_leaves_the_global_random_state_alone(make_config: MakeConfig) -> None:
    before = torch.get_rng_state()
    build_ladder(make_config())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("position", [0, 1])
def test_killed_and_resumed_training_equals_an_unbroken_one(
    make_config: MakeConfig, head: LabelMap, tmp_path, position: int
) -> None:
    whole, broken = (make_config(out=tmp_path / name, validate_every=3) for name in ("whole", "broken"))
    for config in (whole, broken):
        if position:
            _train(config, head)
    expected = _train(whole, head, position).level(position).state_dict()

    def kill(step: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(broken, head, position, kill)  # in step 3; the checkpoint is of step 2
    found = load_checkpoint(checkpoint_path(broken, position))
    assert found is not None
    assert found[1]["step"] == 2
    steps: list[int] = []
    resumed = _train(broken, head, position, lambda step, values: steps.append(step)).level(position).state_dict()
    assert steps[0] == 3
    assert _same(resumed, expected)
    ends = [load_checkpoint(checkpoint_path(config, position)) for config in (whole, broken)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert all(_same(ends[0][0][group], ends[1][0][group]) for group in ("model", "ema", "exp_avg", "exp_avg_sq"))


def test_complete_level_is_not_trained_again(make_config: MakeConfig, head: LabelMap) -> None:
    config = make_config()
    first = _train(config, head).level(0).state_dict()
    steps: list[int] = []
    again = _train(config, head, log=lambda step, values: steps.append(step)).level(0).state_dict()
    assert steps == []
    assert _same(again, first)


def test_trained_level_is_the_average_and_frozen(make_config: MakeConfig, head: LabelMap) -> None:
    config = make_config()
    level = _train(config, head).level(0)
    found = load_checkpoint(checkpoint_path(config, 0))
    assert found is not None
    assert _same(level.state_dict(), found[0]["ema"])
    assert not _same(found[0]["ema"], found[0]["model"])
    assert not level.training
    assert not any(p.requires_grad for p in level.parameters())
    untrained = build_ladder(config)
    load_trained_levels(untrained, config, 1)
    assert _same(untrained.level(0).state_dict(), level.state_dict())


def test_finer_level_is_not_trained_before_the_coarser_one(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(FileNotFoundError, match=r"level\+3\.safetensors: train this level first"):
        load_trained_levels(build_ladder(config), config, 1)


def test_step_without_a_finite_gradient_is_left_out(
    make_config: MakeConfig, head: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lodbrain.training import loop

    loss = loop._step_loss
    calls: list[float] = []

    def sometimes(level, pair, *, bfloat16):
        calls.append(0.0)
        return loss(level, pair, bfloat16=bfloat16) * (math.inf if len(calls) == 2 else 1)

    monkeypatch.setattr(loop, "_step_loss", sometimes)
    state = _train(make_config(), head).level(0).state_dict()
    assert len(calls) == 6
    assert all(bool(value.isfinite().all()) for value in state.values())


@pytest.mark.slow
def test_training_lowers_the_loss(make_config: MakeConfig, head: LabelMap) -> None:
    levels = [{"exponent": 3, "channels": [8, 16], "steps": 100, "learning_rate": 0.01}]
    config = make_config(levels=levels, validate_every=1000, checkpoint_every=1000)
    losses: list[float] = []

    def log(step: int, values: dict[str, float]) -> None:
        if "loss" in values:
            losses.append(values["loss"])

    _train(config, head, log=log)
    assert len(losses) == 2
    assert losses[1] < losses[0] - 0.5


def test_validation_of_a_perfect_level_is_one(make_config: MakeConfig, head: LabelMap) -> None:
    config = make_config()
    source = make_source(build_ladder(config).eval(), 0, config, [head], [head], training=False)

    class Oracle(torch.nn.Module):
        """Answers with the targets of the pairs that it will be shown."""

        def __init__(self) -> None:
            super().__init__()
            self.pairs = [source.draw(10**9 + i) for i in range(2)]

        def forward(self, image, log_voxel, coarse):
            from lodbrain.models.lod import Detail

            pair = next(p for p in self.pairs if torch.equal(p.image, image))
            return Detail(image, pair.target * 50)

    scores = validate(source, Oracle(), 2, bfloat16=False)
    assert scores["structures"] == scores["tissues"] == 1
    assert scores["tissue1"] == scores["tissue3"] == 1
    assert math.isnan(scores["tissue5"])  # this head has no cerebellum
