import math
from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.steps.susceptibility import CAVITIES_MM, DropOut, RandomSusceptibility, Susceptibility
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

FIELD = RandomField(5, 10.0)


def test_signal_is_lost_near_the_cavity_and_nowhere_else(view: Callable[..., View]) -> None:
    grid = Grid((41, 3, 3), (2.0, 2.0, 2.0), (-41.0, -3.0, -3.0))
    step = Susceptibility((DropOut((0.0, 0.0, 0.0), 10.0, 2.0),), FIELD)
    out = step.apply(torch.ones(grid.shape), view(grid))[:, 1, 1]
    assert float(out[20]) == pytest.approx(math.exp(-2), rel=1e-4)
    assert float(out[[0, 40]].min()) > 0.99
    # its edge is steep: from a fifth lost to nearly nothing within 8 mm, wherever the uneven edge lies
    lost = 1 - out[20:]
    assert float(lost[:3].min()) > 0.8
    assert int((lost > 0.05).sum()) - int((lost > 0.7).sum()) <= 5


def test_drop_outs_are_drawn_at_the_cavities() -> None:
    drawn = [RandomSusceptibility().draw(Stream(seed)).drop_outs for seed in range(50)]
    for number, cavity in enumerate(CAVITIES_MM):
        middle = torch.tensor([places[number].at_mm for places in drawn]).mean(0)
        torch.testing.assert_close(middle, torch.tensor(cavity), atol=2, rtol=0)
    assert max(place.depth for places in drawn for place in places) <= 2.5
