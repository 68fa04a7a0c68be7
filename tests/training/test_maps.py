from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lodbrain.errors import InputError
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
