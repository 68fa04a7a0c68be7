from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.labels import STRUCTURES
from lodbrain.synthesis.labelmaps import CLASS_OF_CODE, encode
from lodbrain.synthesis.named import read_named

TABLE = """#No. Label Name:          R   G   B   A

0   Background                0   0   0   0
1   Left-Cerebral-Cortex      205 62  78  0
2   Left-choroid-plexus       0   200 200 0
3   Right-choroid-plexus      0   200 221 0
4   WM-hypointensities        200 70  255 0
5   ExtraCerebral             60  60  60  0
"""


def _write(folder: Path, numbers: list[int]) -> Path:
    data = np.broadcast_to(np.array(numbers, np.int16), (4, 4, len(numbers)))  # along z
    write_nifti(folder / "map.nii.gz", data, Image(data, np.eye(4)))
    (folder / "names.txt").write_text(TABLE)
    return folder / "map.nii.gz"


def test_numbers_become_freesurfers_and_sides_stay(tmp_path: Path) -> None:
    image = read_named(_write(tmp_path, [0, 1, 2, 3, 4, 5, 6]), tmp_path / "names.txt")
    assert image.data[0, 0].tolist() == [0, 3, 136, 163, 77, 0, 0]
    names = [STRUCTURES[int(c)].name for c in CLASS_OF_CODE[encode(image.data[0, 0]).astype(int)]]
    assert names[1:4] == ["Left-Cerebral-Cortex", "Left-Lateral-Ventricle", "Right-Lateral-Ventricle"]
    assert names[4].endswith("Cerebral-White-Matter")


def test_unknown_name_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path, [0, 1, 1, 0])
    (tmp_path / "names.txt").write_text("1 Left-Cortex 0 0 0 0\n")
    with pytest.raises(InputError, match=r"names\.txt.*Left-Cortex"):
        read_named(path, tmp_path / "names.txt")
