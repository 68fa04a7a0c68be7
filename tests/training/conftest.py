"""A small head of ellipsoids, and a ladder of two tiny levels to train on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.synthesis.label_map import LabelMap, prepare
from lodbrain.training.config import TrainingConfig

#: Inside of each radius: label on the left, on the right.
SHELLS = ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.3, 10, 49), (0.2, 4, 43))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Volumes this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def raw_head() -> np.ndarray:
    """(30, 34, 28) int16 in RAS order, of 5 mm voxels."""
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (30, 34, 28)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    raw = np.zeros(radius.shape, np.int16)
    for limit, left, right in SHELLS:
        raw[radius < limit] = np.where(x < 0, left, right)[radius < limit]
    return raw


@pytest.fixture(scope="session")
def head(raw_head: np.ndarray) -> LabelMap:
    return prepare(Image(raw_head, np.diag([5.0, 5.0, 5.0, 1.0])), "head")


@pytest.fixture
def folder(tmp_path: Path, raw_head: np.ndarray) -> Path:
    """With the label maps ``head.nii.gz`` and ``other.nii.gz``, the same head."""
    path = tmp_path / "maps"
    path.mkdir()
    for name in ("head", "other"):
        write_nifti(path / f"{name}.nii.gz", raw_head, Image(raw_head, np.diag([5.0, 5.0, 5.0, 1.0])))
    return path


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., TrainingConfig]:
    """A function: a run of two levels of 12 and 6 mm, the finer one without sides; fields can be changed."""

    def make(**changes: Any) -> TrainingConfig:
        fields: dict[str, Any] = {
            "name": "tiny",
            "out": tmp_path / "run",
            "train": ["head"],
            "validate": ["other"],
            "levels": [
                {"exponent": 3, "channels": [4, 8], "steps": 6},
                {"exponent": 2, "channels": [4, 8], "steps": 4, "sided": False, "crop": [12, 16, 12], "halo": 4},
            ],
            "generator": {"field_of_view": {"voxel_mm": [5.0, 7.0]}},
            "bfloat16": False,
            "warm_up": 2,
            "checkpoint_every": 2,
            "validate_every": 3,
            "validation_scans": 1,
            "pictures": False,
        }
        return TrainingConfig(**{**fields, **changes})

    return make
