import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.steps.ventricles import Ventricles
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
    assert lines == ["upsampling head to 2.5 mm (1 of 2)", "upsampling other to 2.5 mm (2 of 2)"]
    assert fine[0].spacing_mm.tolist() == [2.5, 2.5, 2.5]
    assert torch.equal(fine[0].codes, fine[1].codes)
    assert fine[0].codes.shape == tuple(2 * n for n in maps["head"].codes.shape)


def test_fine_maps_are_opened_anew_and_their_memory_let_go(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    fine = fine_maps(config, load_maps(config, lambda line: None), 2.5, lambda line: None)
    assert list(fine) == ["head", "other"] == [name for name, _ in fine.items()]
    file = str(config.out / "labelmaps_2.5mm" / "head.safetensors")
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


def test_fine_map_of_another_map_is_made_again(make_config: MakeConfig, folder: Path, raw_head: np.ndarray) -> None:
    config = make_config(labelmaps=folder)
    fine_maps(config, load_maps(config, lambda line: None), 2.5, lambda line: None)
    changed = np.where(raw_head == 10, 49, raw_head)
    write_nifti(folder / "head.nii.gz", changed, Image(changed, np.diag([5.0, 5.0, 5.0, 1.0])))
    os.utime(folder / "head.nii.gz", ns=(1, 1))
    lines: list[str] = []
    maps = load_maps(config, lambda line: None)
    fine = fine_maps(config, maps, 2.5, lines.append)["head"]
    assert lines == ["upsampling head to 2.5 mm (1 of 1)"]
    assert torch.equal(fine.codes.unique(), maps["head"].codes.unique())


def test_fine_map_of_an_older_version_or_a_broken_file_is_made_again(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(labelmaps=folder)
    maps = load_maps(config, lambda line: None)
    before = fine_maps(config, maps, 2.5, lambda line: None)["head"].codes.clone()
    kept = config.out / "labelmaps_2.5mm"
    save_file({"codes": torch.zeros_like(before), "distance": torch.zeros_like(before)}, kept / "head.safetensors")
    (kept / "other.safetensors").write_bytes(b"broken")
    lines: list[str] = []
    assert torch.equal(fine_maps(config, maps, 2.5, lines.append)["head"].codes, before)
    assert len(lines) == 2


def test_walls_of_the_ventricles_are_kept_with_a_fine_map(
    make_config: MakeConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(labelmaps=folder)
    fine = fine_maps(config, load_maps(config, lambda line: None), 2.5, lambda line: None)
    expected = Ventricles(0.4).narrow(replace(fine["head"])).codes  # a copy, whose walls are not known

    def again(labels: LabelMap) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("lodbrain.synthesis.walls.measure", again)
    narrow = [Ventricles(0.4).narrow(fine["head"]).codes for _ in range(2)]
    assert torch.equal(narrow[0], expected)
    assert torch.equal(narrow[1], expected)
    assert not torch.equal(expected, fine["head"].codes)
