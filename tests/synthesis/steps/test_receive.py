from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.steps.receive import Bias, RandomBias
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


def test_bias_multiplies_with_the_exponential_of_its_field(image: torch.Tensor, view: Callable[..., View]) -> None:
    field = RandomField(3, 40.0)
    expected = image * torch.exp(0.4 * field.spline.on(view().grid)[0])
    torch.testing.assert_close(Bias(field, 0.4).apply(image, view()), expected)


def test_fields_are_stronger_at_high_field_strength() -> None:
    low, high = ([RandomBias().draw(Stream(seed), uhf=uhf).strength for seed in range(80)] for uhf in (False, True))
    assert max(low) <= 0.5 and min(high) >= 0.2
    assert sum(high) / 80 == pytest.approx(0.4, abs=0.05)
