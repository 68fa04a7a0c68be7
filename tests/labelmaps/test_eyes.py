import numpy as np
import pytest

from lodbrain.labelmaps.eyes import find_eyes

SHAPE, SPACING = (70, 80, 50), np.full(3, 2.0)


def ball(x: float, y: float, z: float, radius_mm: float) -> np.ndarray:
    """(70, 80, 50) bool: a ball around a point in mm."""
    at = np.meshgrid(*(np.arange(n) * 2.0 for n in SHAPE), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(at, (x, y, z), strict=True)) < radius_mm**2


CAVITY = ball(70, 50, 60, 40)
LEFT, RIGHT = ball(44, 108, 40, 12), ball(96, 108, 40, 12)


def test_two_balls_in_front_of_the_brain_are_the_eyes() -> None:
    found = find_eyes(LEFT | RIGHT, CAVITY, SPACING)
    assert found is not None
    assert not (found & ~(LEFT | RIGHT)).any()
    for eye in (LEFT, RIGHT):
        assert np.count_nonzero(found & eye) > 0.98 * np.count_nonzero(eye)


@pytest.mark.parametrize(
    "fluid",
    [
        np.zeros(SHAPE, bool),
        LEFT,
        LEFT | ball(96, 108, 40, 6),
        LEFT | ball(96, 140, 40, 12),
        LEFT | RIGHT | ball(70, 120, 40, 45) & ~CAVITY,
        ball(44, 20, 40, 12) | ball(96, 20, 40, 12),
    ],
    ids=["nothing", "one", "one too small", "one further in front", "a part of something larger", "behind"],
)
def test_anything_else_is_not(fluid: np.ndarray) -> None:
    assert find_eyes(fluid, CAVITY, SPACING) is None
