import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lodbrain.errors import OutputError
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


def _flip_a_weight(path: Path) -> None:
    """The file stays a sound safetensors: only the checksum can tell."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


HARMS = [_cut, _empty, _garbage, _flip_a_weight, Path.unlink]


@pytest.mark.parametrize("harm", HARMS)
def test_corrupt_checkpoint_is_skipped_for_the_one_before(path: Path, harm) -> None:
    harm(path)
    found = load_checkpoint(path)
    assert found is not None
    assert found[1]["step"] == 1
    assert found[0]["model"]["a.weight"].tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("harm", HARMS)
def test_next_save_does_not_move_a_corrupt_checkpoint_over_the_good_one(path: Path, harm) -> None:
    harm(path)
    save_checkpoint(path, _groups(3), {"step": 3})
    path.unlink()  # the new one is lost as well
    found = load_checkpoint(path)
    assert found is not None
    assert found[1]["step"] == 1


@pytest.mark.parametrize("rename", [1, 2])
def test_kill_between_the_renames_loses_nothing(path: Path, rename: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    left, replace = iter(range(rename - 1)), os.replace

    def dying(source: Any, target: Any) -> None:
        if next(left, None) is None:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Killed):
        save_checkpoint(path, _groups(3), {"step": 3})
    monkeypatch.undo()
    found = load_checkpoint(path)
    assert found is not None
    assert found[1]["step"] == 2


def test_no_flipped_bit_gives_another_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "level.safetensors"
    save_checkpoint(path, {"model": {"w": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}}, {"step": 7})
    sound = path.read_bytes()
    unread, bits = 0, range(0, 8 * len(sound), 5)
    for bit in bits:
        faulty = bytearray(sound)
        faulty[bit // 8] ^= 1 << bit % 8
        path.write_bytes(faulty)
        found = load_checkpoint(path)
        unread += found is None
        if found is not None:  # a bit in the checksum's name
            assert found[1] == {"step": 7}
            assert found[0]["model"]["w"].tolist() == [1.5, -2.0]
    assert unread > 0.8 * len(bits)


def test_a_full_disk_is_an_output_error_and_both_checkpoints_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        save_checkpoint(path, _groups(3), {"step": 3})
    found = load_checkpoint(path)
    assert found is not None
    assert found[1]["step"] == 2
    assert len(list(path.parent.iterdir())) == 2


def test_checkpoint_of_an_older_version_without_a_checksum_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"model/a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata={"state": '{"step": 4}'})
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert found is not None
    assert found[1] == {"step": 4}


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
