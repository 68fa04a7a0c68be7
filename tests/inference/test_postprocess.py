from pathlib import Path

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from lodbrain.inference import postprocess as module
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.labels import STRUCTURES

Volume = NDArray[np.uint8]


def _pieces(classes: NDArray[np.integer]) -> dict[int, int]:
    """How many components of 26 neighbours each class has."""
    return {
        int(value): int(cc3d.connected_components(classes == value, connectivity=26).max())
        for value in np.unique(classes[classes > 0])
    }


def _random(seed: int, *, smooth: int = 0) -> Volume:
    """Six classes in many pieces, 0 to 5."""
    scores = np.random.default_rng(seed).random((6, 20, 18, 16))
    for _ in range(smooth):
        for axis in (1, 2, 3):
            scores = scores + np.roll(scores, 1, axis) + np.roll(scores, -1, axis)
    return scores.argmax(0).astype(np.uint8)


@pytest.fixture
def volume() -> Volume:
    """Class 1 in pieces of 64, 8 and 1 voxels, class 4 of 12 and 2; class 7 around three sides of class 1's second."""
    classes = np.zeros((12, 10, 8), np.uint8)
    classes[1:5, 1:5, 1:5] = 1
    classes[6:10, 0:5, 0:5] = 7
    classes[6:8, 2:4, 2:4] = 1
    classes[10, 8, 6] = 1
    classes[1:3, 6:8, 1:4] = 4
    classes[5, 6, 1:3] = 4
    return classes


def test_islands_get_the_class_around_them(volume: Volume) -> None:
    expected = volume.copy()
    expected[6:8, 2:4, 2:4] = 7
    expected[10, 8, 6] = expected[5, 6, 1:3] = 0
    assert keep_largest(volume) == 11
    np.testing.assert_array_equal(volume, expected)


def test_an_island_in_an_island_is_filled_as_well() -> None:
    classes = np.full((25, 25, 25), 2, np.uint8)
    classes[0:3] = 1
    classes[3:6] = 3
    classes[10:21, 10:21, 10:21] = 1
    classes[12:19, 12:19, 12:19] = 3
    assert keep_largest(classes) == 11**3
    assert (classes[6:] == 2).all()
    assert (classes[:3] == 1).all()
    assert (classes[3:6] == 3).all()


@pytest.mark.parametrize("smooth", [0, 2], ids=["grains", "patches"])
@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_in_one_piece_and_the_largest_pieces_stay(seed: int, smooth: int) -> None:
    before = _random(seed, smooth=smooth)
    classes = before.copy()
    assert sum(_pieces(before)[value] > 1 for value in (1, 2, 3, 4)) >= 2
    moved = keep_largest(classes, leave=(5,))
    assert moved == (classes != before).sum() > 0
    pieces = _pieces(classes)
    assert [pieces[value] for value in (1, 2, 3, 4)] == [1, 1, 1, 1]
    for value in range(6):
        components = cc3d.connected_components(before == value, connectivity=26)
        largest = np.bincount(components[components > 0]).argmax()
        kept = before == value if value in (0, 5) else components == largest
        assert (classes[kept] == value).all()
    assert keep_largest(classes, leave=(5,)) == 0


def test_parts_of_the_work_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _random(3)
    parts = whole.copy()
    keep_largest(whole)
    monkeypatch.setattr(module, "_SLAB_VOXELS", 500)
    monkeypatch.setattr(module, "_STRAYS_AT_ONCE", 7)
    keep_largest(parts)
    np.testing.assert_array_equal(parts, whole)


def test_background_around_it_makes_no_difference() -> None:
    small = _random(4)
    wide = np.pad(small, ((5, 0), (2, 3), (0, 4)))
    keep_largest(small)
    keep_largest(wide)
    np.testing.assert_array_equal(wide[5:, 2:-3, :-4], small)


def test_left_classes_keep_all_their_pieces(volume: Volume) -> None:
    before = volume == 4
    assert keep_largest(volume, leave=(4,)) == 9
    np.testing.assert_array_equal(volume == 4, before)
    assert (volume == 1).sum() == 64


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0, 0, 0] = classes[1, 1, 1] = classes[2, 2, 2] = 3
    assert keep_largest(classes) == 0
    assert (classes == 3).sum() == 3


def test_background_may_lie_in_several_pieces() -> None:
    classes = np.zeros((5, 5, 5), np.uint8)
    classes[1:4, 1:4, 1:4] = 2
    classes[2, 2, 2] = 0
    assert keep_largest(classes) == 0
    assert (classes == 0).sum() == 99


def test_empty_volume_stays_empty() -> None:
    classes = np.zeros((3, 4, 5), np.uint8)
    assert keep_largest(classes) == 0
    assert not classes.any()


def test_only_lateral_ventricles_and_csf_may_be_in_pieces() -> None:
    names = {STRUCTURES[number].name for number in SEVERAL_PIECES["structures"]}
    sides = {f"{side}-{name}" for side in ("Left", "Right") for name in ("Lateral-Ventricle", "Inf-Lat-Vent")}
    assert names == {"CSF", *sides}


@pytest.mark.data
@pytest.mark.slow
def test_structures_that_are_made_one_are_one_in_label_maps(data_dir: Path) -> None:
    from lodbrain.images import read_labels

    maps = sorted((data_dir / "labelmaps").glob("training_seg_*.nii.gz"))
    for path in maps[::5]:
        regions = read_labels(path).data
        for number, label in enumerate(STRUCTURES[1:], start=1):
            if number in SEVERAL_PIECES["structures"]:
                continue
            components = cc3d.connected_components(regions == label.index, connectivity=26)
            sizes = np.bincount(components.ravel())[1:]
            assert sizes.max() > 0.98 * sizes.sum(), (path.name, label.name)
