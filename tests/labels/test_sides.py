import numpy as np
import pytest

from lodbrain.labels.sides import fit_midplane, nearer_to_right


def brain(*, turn_deg: float = 0.0, shift_mm: float = 0.0, voxel_mm: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of an ellipsoid (60, 60, 60) turned about z and moved to the right, and where its right half is."""
    grid = (np.indices((60, 60, 60)) - 29.5) * voxel_mm
    turn = np.deg2rad(turn_deg)
    x = np.cos(turn) * (grid[0] - shift_mm) + np.sin(turn) * grid[1]
    y = -np.sin(turn) * (grid[0] - shift_mm) + np.cos(turn) * grid[1]
    z = grid[2]
    labels = np.zeros(x.shape, np.int16)
    labels[(x / 60) ** 2 + (y / 75) ** 2 + (z / 55) ** 2 < 1] = 3
    labels[(x / 50) ** 2 + (y / 65) ** 2 + (z / 45) ** 2 < 1] = 2
    labels[((np.abs(x) - 18) / 8) ** 2 + ((y - 12) / 25) ** 2 + ((z - 6) / 10) ** 2 < 1] = 4
    labels[(x / 12) ** 2 + ((y + 20) / 12) ** 2 + ((z + 30) / 25) ** 2 < 1] = 16
    return labels, x > 0


def affine(voxel_mm: float = 3.0) -> np.ndarray:
    out = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    out[:3, 3] = (40, 16, 63)  # as of a cropped volume: the world's origin is not in the middle
    return out


@pytest.mark.parametrize(("turn_deg", "shift_mm"), [(0, 0), (0, 9), (12, -6), (-25, 4)])
def test_midplane_of_a_turned_and_shifted_brain_is_found(turn_deg: float, shift_mm: float) -> None:
    labels, right = brain(turn_deg=turn_deg, shift_mm=shift_mm)
    found = fit_midplane(labels, affine())
    expected = np.array([np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg)), 0])
    assert np.rad2deg(np.arccos(min(1.0, found.normal @ expected))) < 1.5
    assert np.mean((found.is_right(labels.shape, affine()) == right)[labels > 0]) > 0.985
    assert found.symmetry > 0.9


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_midplane_does_not_depend_on_the_order_of_axes(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    labels, right = brain(turn_deg=8)
    flips = tuple(slice(None, None, sign) for sign in signs)
    turned = labels.transpose(order)[flips]
    to_old = np.zeros((4, 4))
    for new, old in enumerate(order):
        to_old[old, new] = signs[new]
        to_old[old, 3] = 59 if signs[new] < 0 else to_old[old, 3]
    to_old[3, 3] = 1
    there = affine() @ to_old
    found = fit_midplane(turned, there).is_right(turned.shape, there)
    assert np.mean((found == right.transpose(order)[flips])[turned > 0]) > 0.985


def test_midplane_needs_a_label() -> None:
    with pytest.raises(ValueError, match="background only"):
        fit_midplane(np.zeros((3, 3, 3), np.int16), np.eye(4))


def test_side_is_that_of_the_nearer_voxels_in_mm() -> None:
    row = np.zeros((9, 1, 1), bool)
    left, right, voxels = row.copy(), row.copy(), row.copy()
    left[0], right[8], voxels[3:6] = True, True, True
    assert nearer_to_right(voxels, left, right, np.eye(4)).tolist() == [False, False, True]
    # along an axis that points to the left, and with voxels of another size
    turned = np.diag([-2.0, 1.0, 1.0, 1.0])
    assert nearer_to_right(voxels[::-1], left[::-1], right[::-1], turned).tolist() == [True, False, False]


def test_side_is_told_in_a_sheared_grid_by_millimetres() -> None:
    left, right, voxels = (np.zeros((3, 3, 1), bool) for _ in range(3))
    voxels[0, 0], left[1, 1], right[2, 0] = True, True, True
    assert nearer_to_right(voxels, left, right, np.eye(3)).tolist() == [False]
    sheared = np.array([[0.5, 0.9, 0], [0, 1, 0], [0, 0, 1]])  # the left voxel is now 1.72 mm away, the right one 1 mm
    assert nearer_to_right(voxels, left, right, sheared).tolist() == [True]


def test_one_side_alone_gives_its_side_and_none_is_an_error() -> None:
    some, none = np.ones((2, 1, 1), bool), np.zeros((2, 1, 1), bool)
    assert nearer_to_right(some, none, some, np.eye(4)).tolist() == [True, True]
    assert nearer_to_right(some, some, none, np.eye(4)).tolist() == [False, False]
    with pytest.raises(ValueError, match="got none"):
        nearer_to_right(some, none, none, np.eye(4))
