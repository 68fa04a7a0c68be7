import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images.geometry import check_affine
from lodbrain.images.image import Image
from lodbrain.images.shear import is_sheared, straighten

SHEARED = np.array([[2, 0.4, 0, 10], [0, 2, 0.3, -20], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
SHAPE = (24, 22, 20)


def _world(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(X, Y, Z, 3): where each voxel lies in mm."""
    at = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return at @ affine[:3, :3].T + affine[:3, 3]


def _ball(affine: np.ndarray, shape: tuple[int, int, int], radius_mm: float = 14.0) -> np.ndarray:
    centre = SHEARED @ [11.5, 10.5, 9.5, 1]
    return np.linalg.norm(_world(affine, shape) - centre[:3], axis=-1) < radius_mm


def test_axes_become_right_angled_and_keep_their_lengths() -> None:
    straight, _ = straighten(Image(np.zeros(SHAPE, np.float32), SHEARED))
    assert is_sheared(SHEARED) and not is_sheared(straight.affine)
    axes = straight.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.linalg.norm(SHEARED[:3, :3], axis=0) ** 2), atol=1e-9)


def test_straight_grid_covers_every_voxel_of_the_scan() -> None:
    straight, _ = straighten(Image(np.zeros(SHAPE, np.float32), SHEARED))
    inside = np.linalg.inv(straight.affine) @ np.c_[_world(SHEARED, SHAPE).reshape(-1, 3), np.ones(np.prod(SHAPE))].T
    assert inside[:3].min() > -1e-6
    assert (inside[:3].max(1) < np.array(straight.shape) - 1 + 1e-6).all()


def test_intensities_stay_where_they_are_in_the_head() -> None:
    values = (_world(SHEARED, SHAPE) @ [1.0, 2.0, 3.0]).astype(np.float32)  # a ramp is interpolated exactly
    straight, _ = straighten(Image(values, SHEARED))
    expected = _world(straight.affine, straight.shape) @ [1.0, 2.0, 3.0]
    covered = straight.data > values.min() + 1e-3
    assert covered.mean() > 0.5
    np.testing.assert_allclose(straight.data[covered], expected[covered], atol=1e-3)


def test_classes_come_back_to_where_they_were() -> None:
    straight, way = straighten(Image(np.zeros(SHAPE, np.float32), SHEARED))
    classes = np.where(_ball(straight.affine, straight.shape), 1, 0).astype(np.uint8)
    classes[_ball(straight.affine, straight.shape, 8.0)] = 7
    back = way.undo_classes(classes)
    expected = np.where(_ball(SHEARED, SHAPE, 8.0), 7, np.where(_ball(SHEARED, SHAPE), 1, 0))
    for value, least in ((1, 0.9), (7, 0.9)):
        dice = 2 * ((back == value) & (expected == value)).sum() / ((back == value).sum() + (expected == value).sum())
        assert dice > least, (value, dice)
    assert set(np.unique(back)) == {0, 1, 7}


def test_posteriors_come_back_and_still_add_up_to_one() -> None:
    straight, way = straighten(Image(np.zeros(SHAPE, np.float32), SHEARED))
    inside = _ball(straight.affine, straight.shape).astype(np.float32)
    back = way.undo_posteriors(np.stack([1 - inside, inside]))
    assert back.dtype == np.float16
    np.testing.assert_allclose(back.sum(0), 1, atol=2e-3)
    assert ((back[1] > 0.5) == _ball(SHEARED, SHAPE)).mean() > 0.98


def test_small_shear_of_rounding_is_left_alone() -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.01
    assert not is_sheared(affine)
    assert check_affine(None, affine, (200, 200, 200)) == []


def test_shear_is_noted_and_beyond_45_degrees_refused() -> None:
    assert "The axes are sheared by 11.3 degrees." in check_affine(None, SHEARED, (200, 200, 200))
    with pytest.raises(InputError, match=r"sheared by \d\d degrees, which no scanner does"):
        check_affine(None, np.array([[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]]), (9, 9, 9))


def test_long_thin_sheared_voxels_do_not_make_a_huge_grid() -> None:
    affine = np.array([[0.1, 4, 0, 0], [0, 9, 0, 0], [0, 0, 9.0, 0], [0, 0, 0, 1]])
    straight, way = straighten(Image(np.ones(SHAPE, np.float32), affine))
    assert np.prod(straight.shape) <= 8 * np.prod(SHAPE)
    assert way.undo_classes(np.ones(straight.shape, np.uint8)).mean() > 0.95
