import math
from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.transmit import Bump, RandomTransmit, Transmit
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

LINE = Grid((21, 1, 1), (2.0, 2.0, 2.0), (-21.0, -1.0, -1.0))  # centres at -20, -18, ..., 20 mm


def test_field_is_bright_in_the_centre_and_dark_in_drop_outs(view: Callable[..., View]) -> None:
    step = Transmit((Bump((0.0, 0.0, 0.0), 3.0, 0.5), Bump((20.0, 0.0, 0.0), 4.0, -1.2)))
    out = step.apply(torch.ones(LINE.shape), view(LINE))[:, 0, 0]
    assert float(out[10]) == pytest.approx(math.exp(0.5), rel=1e-4)
    assert float(out[-1]) == pytest.approx(math.exp(-1.2), rel=1e-4)
    assert float(out[-3]) == pytest.approx(math.exp(-1.2 * math.exp(-0.5)), rel=1e-3)  # 4 mm away, one width
    assert float(out[0]) == pytest.approx(1, abs=1e-4)


def test_drop_outs_move_with_the_head(view: Callable[..., View]) -> None:
    turned = Deformation((0.0, 0.0, 0.0), rotation_deg=(0.0, 0.0, 180.0))
    out = Transmit((Bump((14.0, 0.0, 0.0), 3.0, -1.0),)).apply(torch.ones(LINE.shape), view(LINE, pose=turned))
    assert int(out[:, 0, 0].argmin()) == 3  # at -14 mm


def test_drawn_fields_are_bright_above_and_dark_below() -> None:
    for seed in range(20):
        centre, left, right, below = RandomTransmit().draw(Stream(seed)).bumps
        assert 0 <= centre.log_gain <= 0.9 and centre.at_mm == (0, 0, 0)
        assert left.at_mm[0] < -40 and right.at_mm[0] > 40 and below.at_mm[2] < -45
        assert all(-1.2 <= bump.log_gain <= 0 for bump in (left, right, below))
