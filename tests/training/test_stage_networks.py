from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lodbrain.errors import UsageError
from lodbrain.models.lod import Ladder
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import Losses
from lodbrain.training.pairs import PairSource
from lodbrain.training.samples import SyntheticSamples
from lodbrain.training.sources import geometry_of
from lodbrain.training.stage_networks import JointLoss, LevelLoss, build_ladder, load_trained_levels
from lodbrain.training.training_run import train

MakeConfig = Callable[..., TrainingConfig]


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture
def ladder(make_config: MakeConfig) -> Ladder:
    """Untrained, but with heads that say something."""
    ladder = build_ladder(make_config())
    torch.manual_seed(3)
    for n in range(2):
        torch.nn.init.normal_(ladder.level(n).head.weight, std=0.3)
    return ladder


@pytest.fixture
def samples(make_config: MakeConfig, ladder: Ladder, head: LabelMap) -> SyntheticSamples:
    config = make_config()
    return SyntheticSamples(["head"], {"head": head}, {"head": head}, config.generator, geometry_of(config, ladder))


def test_seed_decides_the_untrained_weights(make_config: MakeConfig) -> None:
    one, two, other = (build_ladder(make_config(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert _same(one, two)
    assert not _same(one, other)


def test_building_a_ladder_leaves_the_global_random_state_alone(make_config: MakeConfig) -> None:
    before = torch.get_rng_state()
    build_ladder(make_config())
    assert torch.equal(torch.get_rng_state(), before)


def test_finer_level_is_not_trained_before_the_coarser_one(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(FileNotFoundError, match=r"level\+3\.safetensors: train this level first"):
        load_trained_levels(build_ladder(config), config, 1)


def test_warm_start_takes_the_levels_of_a_model_file(make_config: MakeConfig, folder: Path, tmp_path: Path) -> None:
    path = train(make_config(labelmaps=folder, out=tmp_path / "first"))
    levels = make_config().model_dump()["levels"]
    finer = {"exponent": 1, "channels": (4,), "steps": 1, "sided": False}
    config = make_config(start=str(path), levels=[*levels, finer], seed=5)
    started, random = build_ladder(config), build_ladder(make_config(levels=[*levels, finer], seed=5))
    from lodbrain.models import zoo

    model = zoo.load(str(path))[1]
    for name, value in started.state_dict().items():
        expected = random.state_dict()[name] if name.startswith("levels.2.") else model.state_dict()[name].float()
        assert torch.equal(value, expected), name


def test_warm_start_keeps_levels_of_no_steps(make_config: MakeConfig, folder: Path, tmp_path: Path) -> None:
    path = train(make_config(labelmaps=folder, out=tmp_path / "first"))
    levels = make_config().model_dump()["levels"]
    config = make_config(
        start=str(path), labelmaps=folder, out=tmp_path / "second", levels=[{**levels[0], "steps": 0}, levels[1]]
    )
    from lodbrain.models import zoo

    before, after = (zoo.load(str(p))[1].state_dict() for p in (path, train(config)))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("levels.0.")} <= same
    assert not {"levels.1.head.weight", "levels.1.entry.weight"} & same


def test_model_file_may_be_the_mean_of_start_and_end(make_config: MakeConfig, folder: Path, tmp_path: Path) -> None:
    from lodbrain.models import zoo

    first = train(make_config(labelmaps=folder, out=tmp_path / "first"), stop_after=1)
    changes = {"start": str(first), "labelmaps": folder, "seed": 5}
    _, ended = zoo.load(str(train(make_config(**changes, out=tmp_path / "second"))))
    config = make_config(**changes, out=tmp_path / "second", start_share=0.25)  # goes on: nothing to train is left
    (mixed_card, mixed), (_, begun) = zoo.load(str(train(config))), zoo.load(str(first))
    for name, value in mixed.state_dict().items():
        if name.startswith("levels.0."):
            expected = 0.25 * begun.state_dict()[name].float() + 0.75 * ended.state_dict()[name].float()
            assert torch.allclose(value.float(), expected, rtol=2e-3, atol=2e-4), name
        else:  # the starting model has no such level
            assert torch.equal(value, ended.state_dict()[name]), name
    assert mixed_card.training["start_share"] == 0.25
    head = "levels.0.head.weight"
    assert not torch.equal(mixed.state_dict()[head], ended.state_dict()[head])


def test_warm_start_from_other_channels_is_refused(make_config: MakeConfig, folder: Path, tmp_path: Path) -> None:
    path = train(make_config(labelmaps=folder, out=tmp_path / "first"), stop_after=1)
    levels = [{"exponent": 3, "channels": [4, 6], "steps": 1}]
    with pytest.raises(UsageError, match=r"levels\.0\.channels: tiny has channels \[4, 8\], sided true"):
        build_ladder(make_config(start=str(path), levels=levels))
    with pytest.raises(UsageError, match=r"levels\.0\.steps: 0, but tiny has no level of 4 mm"):
        build_ladder(make_config(start=str(path), levels=[{"exponent": 2, "channels": [4, 8], "steps": 0}]))


def test_joint_loss_is_the_mean_of_the_levels_losses(ladder: Ladder, samples: SyntheticSamples) -> None:
    joint = JointLoss(ladder, Losses(), bfloat16=False)
    losses = []
    for position in range(2):
        # the coarse level of the joint stage sees what it would see in its own, the finer one too
        source = PairSource(ladder, position, samples, None, bfloat16=False)
        sample = samples.sample(4, 1)
        pair = source.draw(4) if position else None
        if pair is None:
            from lodbrain.training.pairs import first_pair

            pair = first_pair(sample.views[0], ladder.level(0).stride)
        losses.append(LevelLoss(ladder.level(position), Losses(), bfloat16=False)(pair))
    torch.testing.assert_close(joint([samples.sample(4, 1)]), torch.stack(losses).mean())


def test_joint_gradients_reach_every_level(ladder: Ladder, samples: SyntheticSamples) -> None:
    JointLoss(ladder, Losses(), bfloat16=False)([samples.sample(4, 1)]).backward()
    missing = [name for name, p in ladder.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
