from collections.abc import Callable

import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.defacing import Defacing
from lodbrain.synthesis.steps.view import View

LINE = Grid((1, 40, 1), (1.0, 5.0, 1.0), (0.0, -100.0, 0.0))


def test_defacing_drops_the_face_but_nothing_near_the_brain(view: Callable[..., View]) -> None:
    far, near = torch.full(LINE.shape, 30.0), torch.full(LINE.shape, 5.0)
    defacing = Defacing((0.0, 1.0, -0.5), 60.0)
    kept = defacing.kept(view(LINE, distance_mm=far))[0, :, 0]
    height = LINE.axes_mm()[1] - 0.5 * LINE.axes_mm()[2]
    assert torch.equal(kept, height < 60)
    assert 0 < int(kept.sum()) < 40
    assert bool(defacing.kept(view(LINE, distance_mm=near)).all())


def test_the_plane_turns_with_the_head(view: Callable[..., View]) -> None:
    back_to_front = Deformation((0.0, 0.0, 0.0), rotation_deg=(0.0, 0.0, 180.0))
    far = torch.full(LINE.shape, 30.0)
    kept = Defacing((0.0, 1.0, 0.0), 60.0).kept(view(LINE, distance_mm=far, pose=back_to_front))[0, :, 0]
    assert torch.equal(kept, LINE.axes_mm()[1] > -60)
