from collections.abc import Callable

import torch

from lodbrain.synthesis.steps.ghosts import Ghosts
from lodbrain.synthesis.steps.view import View


def test_ghosts_lie_evenly_over_the_field_of_view(view: Callable[..., View]) -> None:
    image = torch.zeros(view().grid.shape)
    image[2, 5, 5] = 100
    out = Ghosts(0, 4, 0.3).apply(image, view())
    assert out[:, 5, 5].nonzero().flatten().tolist() == [2, 7, 12, 17]
    torch.testing.assert_close(out[[2, 7, 12, 17], 5, 5], torch.tensor([100.0, 10, 10, 10]))
    assert float(out.sum()) == 130
