from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.motion import Motion, Move, moved_image
from lodbrain.synthesis.steps.view import View

STILL = (0.0, 0.0, 0.0)


def test_shift_moves_the_image_by_so_many_mm() -> None:
    grid = Grid((10, 8, 6), (2.0, 1.0, 1.0), (-10.0, -4.0, -3.0))
    image = torch.zeros(grid.shape)
    image[4, 3, 2] = 1
    out = moved_image(image, grid, Move(0.0, (4.0, -1.0, 2.0), STILL))
    assert out[6, 2, 4] == pytest.approx(1, abs=1e-4)
    assert float(out.sum()) == pytest.approx(1, abs=1e-4)


def test_rotation_turns_about_the_centre_of_the_brain() -> None:
    grid = Grid((9, 9, 3), (1.0, 1.0, 1.0), (-4.5, -4.5, -1.5))
    image = torch.zeros(grid.shape)
    image[7, 4, 1] = 1  # 3 mm to the right
    out = moved_image(image, grid, Move(0.0, STILL, (0.0, 0.0, 90.0)))
    assert out[4, 7, 1] == pytest.approx(1, abs=1e-4)  # 3 mm to the front


def test_all_lines_but_the_centre_elsewhere_shift_the_fine_detail(
    image: torch.Tensor, view: Callable[..., View]
) -> None:
    # moved by two voxels for all lines before the centre's and all after: only the mean along the axis stays
    shift = (2.0, 0.0, 0.0)
    out = Motion(0, (Move(0.4999, shift, STILL), Move(0.5, shift, STILL))).apply(image, view())
    moved = moved_image(image, view().grid, Move(0.0, shift, STILL))
    expected = moved - moved.mean(0) + image.mean(0)
    torch.testing.assert_close(out, expected.abs(), atol=1e-3, rtol=0)


def test_a_move_at_the_end_spares_what_was_measured_before(view: Callable[..., View]) -> None:
    smooth = torch.exp(-((torch.arange(20.0) - 8) ** 2) / 5)[:, None, None].expand(view().grid.shape)
    move = Move(0.9, (5.0, 0.0, 0.0), STILL)
    torch.testing.assert_close(Motion(0, (move,)).apply(smooth, view()), smooth, atol=2e-3, rtol=0)
    # a coarse image holds the middle of k-space alone: the move is not seen in it
    rough = torch.rand(view().grid.shape)
    assert torch.equal(Motion(0, (move,)).apply(rough, view(coarseness=2)), rough)
    assert not torch.equal(Motion(0, (move,)).apply(rough, view()), rough)
