import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lodbrain.errors import UsageError
from lodbrain.training.config import TrainingConfig
from lodbrain.training.state import check_same, differences, essence

MakeConfig = Callable[..., TrainingConfig]


def test_what_differs_is_named_with_its_place(make_config: MakeConfig) -> None:
    levels = make_config().model_dump()["levels"]
    changed = make_config(seed=4, losses={"dice": 2.0}, levels=[levels[0], {**levels[1], "learning_rate": 0.1}])
    lines = differences(essence(make_config(), 2, 1), essence(changed, 2, 1))
    assert lines == [
        "levels.1.learning_rate: was 0.002, is 0.1",
        "losses.dice: was 1.0, is 2.0",
        "seed: was 0, is 4",
    ]


def test_finer_levels_and_what_does_not_matter_may_change(make_config: MakeConfig, tmp_path: Path) -> None:
    levels = make_config().model_dump()["levels"]
    changed = make_config(
        out=tmp_path / "elsewhere", checkpoint_every=7, device="cpu", levels=[levels[0], {**levels[1], "steps": 9}]
    )
    assert essence(make_config(), 1, 1) == essence(changed, 1, 1)
    assert essence(make_config(), 2, 1) != essence(changed, 2, 1)
    assert essence(make_config(), 1, 1) != essence(make_config(), 1, 2)


def test_changed_configuration_is_refused_unless_accepted(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"level\.safetensors: was trained with other settings \(seed: was 1, is 2\)"
    ) as e:
        check_same(tmp_path / "level.safetensors", {"seed": 1}, {"seed": 2}, accept=False)
    assert "--accept-changes" in str(e.value)
    check_same(tmp_path, {"seed": 1}, {"seed": 2}, accept=True)
    check_same(tmp_path, {"seed": 1}, {"seed": 1}, accept=False)


def test_checkpoint_of_a_version_without_a_field_has_its_default(make_config: MakeConfig) -> None:
    now = essence(make_config(real={"manifest": "scans.csv"}), 2, 1)
    before: dict[str, Any] = json.loads(json.dumps(now))  # as it is read from a checkpoint
    del before["optimizer"], before["losses"]["tissue_dice"], before["levels"][0]["fresh"]
    del before["real"]["remap_share"], before["tailored"]
    check_same(Path("tiny.safetensors"), before, now, accept=False)
    for changes in ({"optimizer": "muon"}, {"losses": {"tissue_dice": 0.7}}):
        after = essence(make_config(real={"manifest": "scans.csv"}, **changes), 2, 1)
        with pytest.raises(UsageError, match=rf"settings \({next(iter(changes))}.*: was (adamw|0.5), is"):
            check_same(Path("tiny.safetensors"), before, after, accept=False)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_boundary_loss_of_an_earlier_version_is_a_difference_where_it_was_used(
    weight: float, make_config: MakeConfig
) -> None:
    now = essence(make_config(), 2, 1)
    before: dict[str, Any] = json.loads(json.dumps(now))
    before["losses"]["boundary"] = weight
    refused = pytest.raises(UsageError, match=r"losses\.boundary: was 0\.5") if weight else contextlib.nullcontext()
    with refused:
        check_same(Path("tiny.safetensors"), before, now, accept=False)
