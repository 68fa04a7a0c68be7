from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.steps.tone import Tone
from lodbrain.synthesis.steps.view import View


def test_gamma_bends_between_black_and_white_matter(view: Callable[..., View]) -> None:
    image = torch.tensor([-5.0, 0.0, 40.0, 80.0, 160.0]).view(5, 1, 1)
    out = Tone(gamma=2.0).apply(image, view()).flatten()
    torch.testing.assert_close(out, torch.tensor([-5.0, 0.0, 10.0, 40.0, 160.0]))


def test_clip_is_relative_to_white_matter(view: Callable[..., View]) -> None:
    image = torch.tensor([100.0, 170.0, 300.0]).view(3, 1, 1)
    assert Tone(clip=1.1).apply(image, view()).flatten().tolist() == pytest.approx([100, 170, 176])
