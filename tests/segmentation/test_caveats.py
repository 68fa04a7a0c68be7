import numpy as np
import pytest

import lodbrain
from lodbrain.segmentation.caveats import LIMITED, cut_structures, shown_mm3, with_caveat
from lodbrain.segmentation.volume_table import Volume

ROWS = (Volume(24, "CSF", 100.0, 90.0), Volume(None, "TIV", 1000.0, 990.0), Volume(None, "brain", 900.0, 900.0))


def _head(background: float, air: float = 0.0) -> np.ndarray:
    """A cube of 8 voxels a side in one of 16, around it noise of strength `air`."""
    random = np.random.default_rng(0)
    data = background + air * random.random((16, 16, 16))
    data[4:12, 4:12, 4:12] = random.random((8, 8, 8)) + 0.01
    return data.astype(np.float32)


@pytest.mark.parametrize("background", [0.0, -1000.0, 0.5, 7.0])
def test_what_is_shown_is_all_but_the_background_whatever_its_value(background: float) -> None:
    assert shown_mm3(_head(background), 2.0) == 2.0 * 8**3
    assert shown_mm3(_head(background, air=0.1), 2.0) > 1.9 * 16**3


@pytest.mark.parametrize(("shown", "stripped"), [(1000.0, True), (1100.0, True), (1300.0, True), (1700.0, False)])
def test_a_scan_that_shows_hardly_more_than_its_tiv_is_stripped(shown: float, stripped: bool) -> None:
    rows, sentence = with_caveat(ROWS, shown)
    assert [row.note for row in rows] == [None, LIMITED if stripped else None, None]
    assert ("limited by the mask" in sentence) == stripped
    assert [(row.name, row.volume_mm3) for row in rows] == [(row.name, row.volume_mm3) for row in ROWS]


def test_a_model_without_tiv_gets_no_caveat() -> None:
    assert with_caveat((ROWS[0], ROWS[2]), 1000.0) == ((ROWS[0], ROWS[2]), "")


def test_tiv_of_a_stripped_scan_is_noted_and_that_of_a_head_is_not(
    template_4mm: tuple[np.ndarray, np.ndarray],
) -> None:
    data, affine = template_4mm
    stripped = lodbrain.segment(data, affine=affine)
    assert "The scan is skull-stripped: its TIV is limited by the mask" in " ".join(stripped.notes)
    assert {row.name: row.note for row in stripped.volumes if row.note} == {"TIV": LIMITED}
    noisy = data + np.random.default_rng(0).rayleigh(0.02 * data.max(), data.shape)
    head = lodbrain.segment(noisy.astype(np.float32), affine=affine)
    assert not any("skull-stripped" in note for note in head.notes)
    assert not any(row.note for row in head.volumes)


SPACING = np.array([1.0, 2.0, 0.5])
SHAPE = (40, 20, 80)


def _ball(centre_mm: tuple[float, float, float], radius_mm: float = 10.0) -> np.ndarray:
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    return np.sqrt((x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2) < radius_mm


def _rows(labels: np.ndarray) -> list[Volume]:
    sizes = {index: float((labels == index).sum()) for index in (1, 2)}
    named = [Volume(index, f"ball {index}", size, size) for index, size in sizes.items()]
    return [*named, Volume(None, "brain", sum(sizes.values()), 0.0)]


def test_a_structure_cut_through_the_middle_is_named_and_the_whole_one_is_not() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[_ball((0, 20, 20))] = 1
    labels[_ball((25, 20, 20))] = 2
    assert cut_structures(labels, _rows(labels), SPACING) == ("ball 1",)


def test_each_of_the_six_faces_counts() -> None:
    for axis in range(3):
        for end in (0.0, (SHAPE[axis] - 1) * SPACING[axis]):
            centre = [20.0, 20.0, 20.0]
            centre[axis] = end
            labels = _ball((centre[0], centre[1], centre[2])).astype(np.uint8)
            assert cut_structures(labels, _rows(labels), SPACING) == ("ball 1",), (axis, end)


def test_touching_the_edge_with_a_few_voxels_is_no_cut() -> None:
    labels = _ball((9.9, 20, 20)).astype(np.uint8)
    assert labels[0].any()
    assert cut_structures(labels, _rows(labels), SPACING) == ()


def test_a_label_that_is_absent_is_not_cut() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    assert cut_structures(labels, _rows(labels), SPACING) == ()
