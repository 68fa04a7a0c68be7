import pytest
import torch

from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.anatomy import Body
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.intensities import N_SUBCLASSES, Contrasts, draw_contrast
from lodbrain.synthesis.label_map import CLASS_OF_CODE, LabelMap

GRID = Grid((20, 22, 18), (7.0, 7.0, 7.0), (-70.0, -77.0, -63.0))


def _body(head: LabelMap) -> Body:
    x, y, z = head.brain_box_mm.mean(0).tolist()
    pose = Deformation((x, y, z), (5.0, -8.0, 12.0), velocity_mm=3.0, velocity_seed=4)
    contrast = draw_contrast(Contrasts(), torch.Generator().manual_seed(2))
    return Body(head, pose, None, contrast, RandomField(6, 22.0))


def _part(body: Body) -> torch.Tensor:
    return (body.parts.on(GRID) * 1.5 + N_SUBCLASSES / 2).clamp(0, N_SUBCLASSES - 1).long()


@pytest.mark.parametrize("supersample", [1, 2, 3])
def test_signal_is_the_mean_over_all_samples_to_the_last_bit(head: LabelMap, supersample: int) -> None:
    body = _body(head)
    codes, part = body._samples(GRID, supersample, slice(0, 20)).long(), _part(body)
    total = torch.zeros(GRID.shape)
    for sample in codes:
        total += body.contrast.means[sample, part]
    anatomy = body.on(GRID, supersample=supersample, target="none", distance=False)
    assert torch.equal(anatomy.signal, total / len(codes))
    corners = body.contrast.sds[codes[0], part] + body.contrast.sds[codes[-1], part]
    assert torch.equal(anatomy.spread, corners / 2)
    assert 0.1 < float((codes != codes[0]).any(0).float().mean()) < 0.9 or supersample == 1


@pytest.mark.parametrize("supersample", [1, 2, 3])
def test_classes_are_those_of_most_samples(head: LabelMap, supersample: int) -> None:
    body = _body(head)
    classes = CLASS_OF_CODE[body._samples(GRID, supersample, slice(0, 20)).long()]
    votes = torch.zeros((N_CLASSES, *GRID.shape)).scatter_add_(0, classes, torch.ones(classes.shape))
    found = body.on(GRID, supersample=supersample, target="classes", distance=False).target
    shares = body.on(GRID, supersample=supersample, target="shares", distance=False).target
    assert found is not None
    assert shares is not None
    assert torch.equal(votes.gather(0, found.long()[None])[0], votes.max(0).values)
    torch.testing.assert_close(shares, votes / len(classes), atol=1e-6, rtol=0)
