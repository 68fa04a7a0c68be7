from pathlib import Path

import numpy as np
import pytest
from brain_maps import NUMBER_OF_NAME, read_named

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.labels import STRUCTURES
from lodbrain.labels.freesurfer import FREESURFER
from lodbrain.synthesis.label_map import CLASS_OF_CODE, CODE_OF_RAW, encode, prepare

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
    image = read_named(_write(tmp_path, [0, 1, 2, 3, 4, 5]), tmp_path / "names.txt")
    assert image.data[0, 0].tolist() == [0, 3, 31, 63, 77, 0]
    names = [STRUCTURES[int(c)].name for c in CLASS_OF_CODE[encode(image.data, image.affine)[0, 0].astype(int)]]
    assert names[1:4] == ["Left-Cerebral-Cortex", "Left-Lateral-Ventricle", "Right-Lateral-Ventricle"]
    assert names[4].endswith("Cerebral-White-Matter")


def test_number_that_is_not_listed_is_an_error_and_does_not_wrap(tmp_path: Path) -> None:
    path = _write(tmp_path, [0, 1, 258, 1])
    with pytest.raises(InputError, match=r"map\.nii\.gz: label 258 is not in the list .*names\.txt"):
        read_named(path, tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text(TABLE + "258 Right-Cerebral-Cortex 0 0 0 0\n")
    assert read_named(path, tmp_path / "names.txt").data[0, 0].tolist() == [0, 3, 42, 3]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"1 Left-Cortex 0 0 0 0\n", "Left-Cortex is no structure that is known"),
        (b"# numbers\n\n1\n", "line 3 is not number and name: '1'"),
        (b"Left-Thalamus 10\n", "line 1 is not number and name"),
        (b"1 Left-Thalamus\n1 Left-Caudate\n", "line 2 names 1 again"),
        (b"# none\n", "names no label"),
        (b"\xff\xfe\x00", "it is no text"),
        (None, "No such file"),
    ],
)
def test_missing_or_malformed_list_is_one_line(tmp_path: Path, content: bytes | None, what: str) -> None:
    path, names = _write(tmp_path, [0, 1, 1, 0]), tmp_path / "names.txt"
    names.unlink()
    if content is not None:
        names.write_bytes(content)
    with pytest.raises(InputError, match=r"names\.txt: ") as caught:
        read_named(path, names)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_what_does_not_occur_need_not_be_known(tmp_path: Path) -> None:
    path = _write(tmp_path, [0, 1, 1, 0])
    (tmp_path / "names.txt").write_text(TABLE + "9 Left-Something-Else 0 0 0 0\n")
    assert read_named(path, tmp_path / "names.txt").data[0, 0].tolist() == [0, 3, 3, 0]


def test_names_are_those_of_their_numbers() -> None:
    assert set(NUMBER_OF_NAME.values()) <= set(FREESURFER)
    for name, number in NUMBER_OF_NAME.items():
        side = {"Left": 0, "Right": 1}.get(name.split("-")[0])
        structures = {label.index: label.side for label in STRUCTURES}
        if side is not None and FREESURFER[number] != (0, 0):
            assert structures[FREESURFER[number][side]] == ("left", "right")[side], name


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["sub001-t1w-07iso", "sub002-t1w-06iso", "sub003-mtw-06iso"])
def test_choroid_plexus_and_hypointensities_of_7_t_maps_lie_on_their_sides(data_dir: Path, name: str) -> None:
    folder = data_dir / "labelmaps_uhf"
    labels = prepare(read_named(folder / f"{name}.nii.gz", folder / "gouhfi-labels.txt"))  # RAS: x to the right
    codes = labels.codes.numpy()

    def x_mm(*raws: int) -> np.ndarray:
        at = np.argwhere(np.isin(codes, [CODE_OF_RAW[raw] for raw in raws]))[:, 0]
        return np.asarray(at * float(labels.spacing_mm[0]))

    middle = (x_mm(2).mean() + x_mm(41).mean()) / 2
    for left, right in ((136, 163), (78, 79)):
        assert np.mean(x_mm(left) < middle) > 0.97
        assert np.mean(x_mm(right) > middle) > 0.97
    # the choroid plexus lies in the lateral ventricle of its side
    assert abs(x_mm(136).mean() - x_mm(4).mean()) < 12 > abs(x_mm(163).mean() - x_mm(43).mean())
    classes = CLASS_OF_CODE[[CODE_OF_RAW[raw] for raw in (136, 163, 78, 79)]].tolist()
    assert [STRUCTURES[k].index for k in classes] == [4, 43, 2, 41]
