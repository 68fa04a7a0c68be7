"""A head of shells as a label map ready for sampling."""

import numpy as np
import pytest
from shell_head import raw_labels

from lodbrain.images.image import Image
from lodbrain.synthesis.label_map import LabelMap, prepare


@pytest.fixture(scope="session")
def raw_head() -> np.ndarray:
    """Raw labels of the shells, (36, 40, 32) int16."""
    return raw_labels()


@pytest.fixture(scope="session")
def head(raw_head: np.ndarray) -> LabelMap:
    """The head on 4 mm voxels."""
    return prepare(Image(raw_head, np.diag([4.0, 4.0, 4.0, 1.0])), "head")
