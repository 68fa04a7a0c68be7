from pathlib import Path
from typing import Any

import pytest
import torch

from lodbrain.errors import UsageError
from lodbrain.models import zoo
from lodbrain.segmentation.settings import Settings, check_model, choose_device, load_model


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": "lobes"}, "labels must be one of structures, tissue, brain, got 'lobes'"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"memory_bytes": -1}, "memory_bytes must be at least 1, got -1"),
        ({"threads": "2"}, "threads must be a whole number, got '2'"),
        ({"threads": 1.5}, "threads must be a whole number, got 1.5"),
        ({"memory_bytes": "4GB"}, "memory_bytes must be a whole number, got '4GB'"),
        ({"frame": True}, "frame must be a whole number, got True"),
        ({"labels": ["brain"]}, "labels must be one of structures, tissue, brain"),
        ({"frame": -1}, "frame must be at least 0, got -1"),
        ({"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def available(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for cuda, mps in ((2, True), (0, True), (0, False)):
        available(monkeypatch, cuda=cuda, mps=mps)
        chosen.append(choose_device("auto"))
    assert chosen == ["cuda", "mps", "cpu"]


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, cuda=2)
    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize("name", ["cuda:2", "mps", "tpu", "cuda:x", "cpu:0", ""])
def test_a_device_that_is_not_there_is_wrong_usage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, cuda=2)
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


def test_a_tissue_model_asked_for_structures_is_refused_before_its_weights_are_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zoo, "load", lambda name: pytest.fail("the weights were touched"))
    with pytest.raises(UsageError, match="lod-brain-2024 gives six tissue classes, not structures"):
        load_model(Settings(model="lod-brain-2024"))
    check_model(Settings(model="lod-brain-2024", labels="tissue"))


def test_a_model_file_is_known_by_its_own_hash(fake_model: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"abc")
    fake_model.sha256 = ""
    model = load_model(Settings(model=str(tmp_path / "mine.safetensors")))
    assert model.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_tissue_model_file_asked_for_structures_is_refused(fake_model: Any) -> None:
    fake_model.labels = "tissue"
    with pytest.raises(UsageError, match="gives six tissue classes"):
        load_model(Settings(model="mine.safetensors"))
