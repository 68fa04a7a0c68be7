import numpy as np
import pytest

from lodbrain.labelmaps.headmask import closed, distance_mm, local_level


def test_distance_is_in_mm_and_gaps_are_closed() -> None:
    mask = np.zeros((40, 30, 20), bool)
    mask[:10] = mask[14:20] = True
    spacing = np.array([1.0, 1.0, 2.0])
    distance = distance_mm(mask, spacing)
    assert distance[24:36, 15, 10] == pytest.approx(np.arange(24, 36) - 19.5 + 0.5, abs=1)
    whole = closed(mask, 3.0, spacing)
    assert whole[:20].all()
    assert not whole[21:].any()
    assert not closed(mask, 1.0, spacing)[11:13].any()


def test_local_level_is_the_mean_of_what_is_in_the_mask() -> None:
    values = np.full((20, 20, 20), 4.0, np.float32)
    values[10:] = 1000
    where = np.zeros((20, 20, 20), bool)
    where[:10] = True
    level = local_level(values, where, np.ones(3), sigma_mm=4.0)
    assert level[2:9, 5:15, 5:15] == pytest.approx(4, rel=1e-3)
