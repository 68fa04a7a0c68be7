from pathlib import Path

import numpy as np
import pytest

from lodbrain.images import Image, write_nifti


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    """A ball of white matter in cortex in CSF, at 8 mm."""
    at = np.indices((30, 32, 28)) - np.array([15, 16, 14])[:, None, None, None]
    r2 = (at**2).sum(0)
    labels = np.zeros(r2.shape, np.int16)
    for radius, number in ((11, 24), (9, 3), (6, 2)):
        labels[r2 < radius**2] = number
    labels[15:][labels[15:] == 3], labels[15:][labels[15:] == 2] = 42, 41
    write_nifti(tmp_path / "map_01.nii.gz", labels, Image(labels, np.diag([8.0, 8, 8, 1])))
    return tmp_path / "map_01.nii.gz"
