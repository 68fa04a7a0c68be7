import math
from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.noise import Noise
from lodbrain.synthesis.steps.view import View

CUBE = Grid((24, 24, 24), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("coarseness", [1, 2, 4])
def test_noise_is_that_of_the_voxels_of_the_scan_on_every_level(coarseness: int, view: Callable[..., View]) -> None:
    out = Noise(0.05).apply(torch.full(CUBE.shape, 500.0), view(CUBE, coarseness=coarseness))
    assert float(out.std()) == pytest.approx(8, rel=0.03)
    assert float(out.mean()) == pytest.approx(500, abs=0.3)


def test_rician_noise_of_air_has_the_mean_of_a_rayleigh_distribution(view: Callable[..., View]) -> None:
    out = Noise(0.05, rician=True).apply(torch.zeros(CUBE.shape), view(CUBE))
    assert float(out.min()) >= 0
    assert float(out.mean()) == pytest.approx(8 * math.sqrt(math.pi / 2), rel=0.02)


def test_another_seed_or_another_crop_has_other_noise(view: Callable[..., View]) -> None:
    flat = torch.zeros(CUBE.shape)
    one = Noise(0.05).apply(flat, view(CUBE))
    assert torch.equal(one, Noise(0.05).apply(flat, view(CUBE)))
    assert not torch.equal(one, Noise(0.05).apply(flat, view(CUBE, seed=2)))
    assert not torch.equal(one, Noise(0.05).apply(flat, view(CUBE.moved(0, 1.0))))
