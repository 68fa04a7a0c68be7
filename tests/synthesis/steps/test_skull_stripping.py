from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.skull_stripping import Bite, RandomStripping, Stripping
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream

FIELD = RandomField(0, 15.0)


@pytest.fixture
def distance(view: Callable[..., View]) -> torch.Tensor:
    return torch.arange(20.0)[:, None, None].expand(view().grid.shape)


def test_stripping_keeps_what_is_near_the_brain(distance: torch.Tensor, view: Callable[..., View]) -> None:
    for margin, last in ((-0.5, 0), (7.0, 7)):
        kept = Stripping(margin, FIELD).kept(view(distance_mm=distance))
        assert kept[:, 3, 3].tolist() == [d <= last for d in range(20)]


def test_errors_never_reach_into_the_brain(view: Callable[..., View]) -> None:
    grid = view().grid
    kept = Stripping(-0.5, FIELD, 9.0).kept(view(distance_mm=torch.zeros(grid.shape)))
    assert bool(kept.all())


def test_what_leaks_is_left_where_the_field_is_high(view: Callable[..., View]) -> None:
    far = torch.full(view().grid.shape, 12.0)
    kept = Stripping(1.0, FIELD, 0.0, 15.0).kept(view(distance_mm=far))
    assert torch.equal(kept, FIELD.on(view().grid) > 0.6)


def test_bites_take_brain_away(view: Callable[..., View]) -> None:
    inside = torch.zeros(view().grid.shape)
    kept = Stripping(3.0, FIELD, bites=(Bite((0.0, 0.0, 0.0), 5.0),)).kept(view(distance_mm=inside))
    lost = int((~kept).sum())
    assert lost == pytest.approx(4 / 3 * torch.pi * 5**3, rel=0.07)


def test_share_that_is_stripped_badly() -> None:
    brain = (140.0, 170.0, 130.0)
    drawn = [RandomStripping(0.5, 0.4).draw(Stream(seed), brain) for seed in range(200)]
    stripped = [stripping for stripping in drawn if stripping is not None]
    assert 80 <= len(stripped) <= 120
    bad = [stripping for stripping in stripped if stripping.leak_mm or stripping.bites]
    assert 0.3 <= len(bad) / len(stripped) <= 0.5
    assert any(stripping.bites for stripping in bad)
    with pytest.raises(ValueError, match="distance to the brain"):
        stripped[0].kept(View(None, None, None, 160.0, 0))  # type: ignore[arg-type]
