import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.training.config import TrainingConfig
from lodbrain.training.training_run import train

MakeConfig = Callable[..., TrainingConfig]


def test_one_call_makes_a_model_file_with_its_card(make_config: MakeConfig, folder: Path) -> None:
    lines: list[str] = []
    path = train(make_config(labelmaps=folder), report=lines.append)
    assert path == make_config().out / "tiny.safetensors"
    card, network = zoo.load(str(path))
    assert (card.name, card.architecture, card.labels) == ("tiny", "lod", "structures")
    assert [row["sided"] for row in card.config["levels"]] == [True, False]
    assert card.training["steps"] == {"level+3": 6, "level+2": 4}
    beside = Card.from_json(path.with_suffix(".json").read_text(encoding="utf-8"), path)
    assert beside.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert not network.training
    assert any("level+3 step 6" in line for line in lines)
    assert any("level+2 step 4" in line for line in lines)
    # Again: both levels are complete, the model is the same.
    before = path.read_bytes()
    assert train(make_config(labelmaps=folder)).read_bytes() == before


def test_model_file_has_the_weights_in_half_precision(make_config: MakeConfig, folder: Path) -> None:
    from safetensors.torch import load_file

    config = make_config(labelmaps=folder)
    weights = load_file(train(config, stop_after=1))
    trained = load_file(config.out / "level+3.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float16}
    assert {name.split(".")[1] for name in weights} == {"0"}  # what is not trained is left out
    for name, value in weights.items():
        if name.startswith("levels.0."):
            assert torch.equal(value, trained["ema/" + name.removeprefix("levels.0.")].half())
    assert not (config.out / "level+2.safetensors").exists()
