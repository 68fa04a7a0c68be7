from pathlib import Path

import pytest
import torch

from lodbrain.training.checkpoint import load_checkpoint, save_checkpoint


def _groups(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"a.weight": torch.full((3, 2), value)}, "ema": {"a.weight": torch.full((3, 2), -value)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two checkpoints were written to it: of step 1, then of step 2."""
    path = tmp_path / "level.safetensors"
    for step in (1, 2):
        save_checkpoint(path, _groups(step), {"step": step, "config": {"name": "tiny"}})
    return path


def test_newest_checkpoint_comes_back(path: Path) -> None:
    found = load_checkpoint(path)
    assert found is not None
    groups, state = found
    assert state == {"step": 2, "config": {"name": "tiny"}}
    assert groups["model"]["a.weight"].tolist() == [[2, 2]] * 3
    assert groups["ema"]["a.weight"].tolist() == [[-2, -2]] * 3


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 200)


@pytest.mark.parametrize("harm", [_cut, _empty, _garbage, Path.unlink])
def test_corrupt_checkpoint_is_skipped_for_the_one_before(path: Path, harm) -> None:
    harm(path)
    found = load_checkpoint(path)
    assert found is not None
    assert found[1]["step"] == 1
    assert found[0]["model"]["a.weight"].tolist() == [[1, 1]] * 3


def test_without_a_whole_checkpoint_there_is_none(path: Path, tmp_path: Path) -> None:
    _cut(path)
    _cut(path.with_name(path.name + ".previous"))
    assert load_checkpoint(path) is None
    assert load_checkpoint(tmp_path / "other.safetensors") is None


def test_file_of_tensors_without_state_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"model/a": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert load_checkpoint(tmp_path / "a.safetensors") is None


def test_tensors_of_any_layout_are_kept(tmp_path: Path) -> None:
    weight = torch.arange(48.0).view(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d).requires_grad_()
    save_checkpoint(tmp_path / "a", {"model": {"w": weight}}, {"step": 0})
    found = load_checkpoint(tmp_path / "a")
    assert found is not None
    assert torch.equal(found[0]["model"]["w"], weight.detach())


def test_no_temporary_file_is_left(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, path.name + ".previous"]
