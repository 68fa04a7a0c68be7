import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lodbrain.errors import InputError
from lodbrain.synthesis.labelmaps import CODES_VERSION
from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import fine_maps, load_maps

MakeConfig = Callable[..., TrainingConfig]


def test_missing_label_map_is_named(make_config: MakeConfig, folder: Path) -> None:
    with pytest.raises(InputError, match="third: this label map of the configuration is not there"):
        load_maps(make_config(labelmaps=folder, validate=["third"]), lambda line: None)


def test_fine_maps_are_made_once_and_read_again(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    assert fine_maps(config, maps, None, lambda line: None) is maps
    lines: list[str] = []
    fine = [fine_maps(config, maps, 2.5, lines.append)["head"] for _ in range(2)]
    assert lines == ["upsampling head to 2.5 mm", "upsampling other to 2.5 mm"]
    assert fine[0].spacing_mm.tolist() == [2.5, 2.5, 2.5]
    assert torch.equal(fine[0].codes, fine[1].codes)
    assert fine[0].codes.shape == tuple(2 * n for n in maps["head"].codes.shape)


def test_fine_maps_are_opened_anew_and_their_memory_let_go(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    fine = fine_maps(config, load_maps(config, lambda line: None), 2.5, lambda line: None)
    assert list(fine) == ["head", "other"] == [name for name, _ in fine.items()]
    file = str(config.out / f"labelmaps_2.5mm_v{CODES_VERSION}" / "head.safetensors")
    opened = fine["head"]
    assert opened is not fine["head"]
    if sys.platform.startswith("linux"):
        assert file in Path("/proc/self/maps").read_text()
        del opened
        assert file not in Path("/proc/self/maps").read_text()


def test_map_that_is_fine_enough_is_its_own_finer_one(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    assert fine_maps(config, maps, 5.0, lambda line: None)["head"] is maps["head"]


def test_fine_maps_of_an_older_version_are_made_anew(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps, lines = load_maps(config, lambda line: None), list[str]()
    old = config.out / "labelmaps_2.5mm"
    old.mkdir(parents=True)
    (old / "head.safetensors").write_bytes(b"codes of version 1")
    fine_maps(config, maps, 2.5, lines.append)
    assert lines[0] == "upsampling head to 2.5 mm"
    assert (old / "head.safetensors").read_bytes() == b"codes of version 1"
