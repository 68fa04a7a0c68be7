"""A head of ellipsoids, and a plan without any effect."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from shell_head import raw_labels

from lodbrain.images.image import Image
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.generator import ScanPlan
from lodbrain.synthesis.intensities import N_SUBCLASSES, T1W_PRIOR, Contrast
from lodbrain.synthesis.label_map import LabelMap, prepare


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Volumes this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def raw_head() -> np.ndarray:
    """Raw labels of the shells, (36, 40, 32) int16."""
    return raw_labels()


@pytest.fixture(scope="session")
def head(raw_head: np.ndarray) -> LabelMap:
    """The head on 4 mm voxels."""
    return prepare(Image(raw_head, np.diag([4.0, 4.0, 4.0, 1.0])), "head")


@pytest.fixture(scope="session")
def plain_plan() -> Callable[[Grid, torch.Tensor], ScanPlan]:
    """A function: the plan that shows a map as it is, in the means of a T1w scan."""

    def make(grid: Grid, offset_mm: torch.Tensor) -> ScanPlan:
        x, y, z = offset_mm.tolist()
        means = T1W_PRIOR[:, :1].repeat(1, N_SUBCLASSES)
        return ScanPlan(
            seed=3,
            scan=grid,
            deformation=Deformation((x, y, z)),
            lesions=None,
            contrast=Contrast(means, torch.zeros_like(means), "t1w"),
            parts=RandomField(0, 22.0),
        )

    return make
