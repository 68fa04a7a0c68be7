import numpy as np

from lodbrain.labelmaps.components import attach, tangled


def test_cell_is_tangled_where_a_label_touches_by_an_edge_or_a_corner_only() -> None:
    edge = np.array([[[1, 1], [0, 0]], [[0, 0], [1, 1]]], np.uint8)
    corner = np.array([[[1, 2], [2, 2]], [[2, 2], [2, 1]]], np.uint8)
    flat = np.array([[[1, 1], [1, 1]], [[0, 0], [0, 0]]], np.uint8)
    around = np.array([[[1, 1], [1, 0]], [[1, 2], [1, 1]]], np.uint8)  # joined by way of other corners
    alone = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    found = [bool(tangled(cell)[0, 0, 0]) for cell in (edge, corner, flat, around, alone)]
    assert found == [True, True, False, False, False]


def test_every_cell_of_a_larger_map_is_looked_at() -> None:
    codes = np.zeros((5, 4, 4), np.uint8)
    codes[2, 1, 1] = codes[3, 2, 1] = 1
    expected = np.zeros((4, 3, 3), bool)
    expected[2, 1, :2] = True
    assert np.array_equal(tangled(codes), expected)


def test_islands_take_the_label_around_them_and_peninsulas_stay() -> None:
    labels = np.zeros((9, 5, 5), np.uint8)
    settled = np.zeros(labels.shape, bool)
    settled[0] = True
    labels[4, 2, 2] = 1  # no settled voxel of its own
    labels[0, 0, 0] = labels[1, 0, 0] = labels[2, 0, 0] = 2
    attach(labels, settled, own_steps=9)
    assert labels[4, 2, 2] == 0
    assert labels[:4, 0, 0].tolist() == [2, 2, 2, 0]


def test_own_label_reaches_no_further_than_the_steps() -> None:
    labels = np.zeros((8, 1, 1), np.uint8)
    labels[:6] = 1
    settled = np.zeros(labels.shape, bool)
    settled[[0, 7]] = True
    attach(labels, settled, own_steps=1)
    # 2 and 5 are filled from 1 and 6, then 3 and 4 from these: connected either way
    assert labels.reshape(-1).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
