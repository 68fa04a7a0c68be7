from types import SimpleNamespace

from lodbrain.inference.boxes import aligned, boxes_around, halo

COARSE, FINE = SimpleNamespace(radius=4, stride=4), SimpleNamespace(radius=6, stride=2)


def test_aligned_box_stays_in_the_padded_volume() -> None:
    assert aligned(((-9, 99), (3, 5), (9, 10)), COARSE, (39, 16, 15)) == ((0, 40), (0, 8), (8, 12))


def test_halo_is_the_radius_and_the_doubling_aligned() -> None:
    assert (halo(COARSE), halo(FINE)) == (8, 8)


def test_margin_is_twelve_mm_or_the_radius_and_grows_towards_the_coarse() -> None:
    brain = ((10, 20), (10, 20), (10, 20))
    boxes = boxes_around(brain, [COARSE, COARSE, FINE], [(40,) * 3, (80,) * 3, (160,) * 3], [4.0, 2.0, 1.0])
    assert boxes[0] == brain
    assert boxes[2] == ((28, 92),) * 3  # 12 mm on either side of 40 to 80
    assert boxes[1] == ((12, 48),) * 3  # 12 mm, and two voxels for the doubling, aligned to four
    far = SimpleNamespace(radius=20, stride=2)
    assert boxes_around(brain, [COARSE, far], [(40,) * 3, (80,) * 3], [2.0, 1.0])[1] == ((0, 60),) * 3
