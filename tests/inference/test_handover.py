import weakref

import numpy as np
import pytest

from lodbrain.inference.handover import Handover


class Voxels(np.ndarray):
    """An array that can be watched."""


def test_array_is_gone_when_its_taker_is_done() -> None:
    data = np.ones((2, 3, 4), np.float32).view(Voxels)
    watched, handover = weakref.ref(data), Handover(data)
    del data
    assert handover.take(again=True) is watched()
    assert handover.take().sum() == 24
    assert watched() is None


def test_array_is_handed_over_once() -> None:
    handover = Handover(np.ones((2, 3, 4), np.float32))
    handover.take()
    with pytest.raises(ValueError, match="data must not be taken twice"):
        handover.take()
