import numpy as np

from lodbrain.segmentation.edges import cut_structures
from lodbrain.segmentation.volumes import Volume

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
