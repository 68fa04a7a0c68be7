import pytest
import torch

from lodbrain.images.intensity import Scaling
from lodbrain.inference.boxes import aligned
from lodbrain.inference.prediction import Options
from lodbrain.inference.tiled_levels import BoxOutput, Run, each_part, refine
from lodbrain.inference.tiling import Box
from lodbrain.models.folded import fold
from lodbrain.models.lod import Ladder, LevelConfig, LevelOutput

WHOLE: Box = ((0, 40), (0, 16), (0, 16))


@pytest.fixture
def stage() -> BoxOutput:
    """Of the level above, on the whole of its grid."""
    random = torch.Generator().manual_seed(0)
    features, logits = (torch.randn((1, c, 20, 8, 8), generator=random) for c in (4, 33))
    return BoxOutput(LevelOutput(features, logits), ((0, 20), (0, 8), (0, 8)))


FINE = LevelConfig(0, (4, 8), sided=False)
BLOCKS = LevelConfig(0, (4,), sided=False, block=2)


def _run(tile_voxels: int | None = None, fine: LevelConfig = FINE) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Ladder((LevelConfig(1, (4,)), fine)).eval()
        torch.nn.init.normal_(network.level(1).head.weight)
    images = tuple(
        torch.randn(shape, generator=torch.Generator().manual_seed(2)) for shape in ((20, 8, 8), (39, 16, 15))
    )
    tiles = () if tile_voxels is None else (0, tile_voxels)
    return Run(fold(network, torch.float32), images, (2.0, 1.0), Scaling(0.0, 1.0, 6.0), Options(), tiles)


@pytest.mark.parametrize("fine", [FINE, BLOCKS, LevelConfig(0, (4, 4), sided=False, block=2)])
def test_tiles_give_what_the_whole_gives(stage: BoxOutput, fine: LevelConfig) -> None:
    with torch.inference_mode():
        runs = (_run(limit, fine) for limit in (None, 34 * 16 * 16))
        whole, tiled = (refine(run, 1, stage, WHOLE) for run in runs)
    assert whole.box == tiled.box == WHOLE
    for one, two in (
        (whole.output.features, tiled.output.features),
        (whole.output.logits, tiled.output.logits),
        (whole.output.side, tiled.output.side),
    ):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fine", [FINE, BLOCKS])
def test_box_gives_what_the_whole_gives_a_radius_inside_of_it(stage: BoxOutput, fine: LevelConfig) -> None:
    run = _run(fine=fine)
    box = aligned(((9, 40), (0, 16), (0, 15)), run.levels[1], run.images[1].shape)
    assert box == ((8, 40), (0, 16), (0, 16))
    with torch.inference_mode():
        whole, part = refine(run, 1, stage, WHOLE), refine(run, 1, stage, box)
    radius = run.levels[1].radius
    whole_logits, part_logits = whole.output.logits[:, :, 8:], part.output.logits
    torch.testing.assert_close(part_logits[:, :, radius:], whole_logits[:, :, radius:], atol=1e-5, rtol=0)
    assert not torch.allclose(part_logits[:, :, :2], whole_logits[:, :, :2], atol=1e-3)


def test_tiles_report_their_share(stage: BoxOutput) -> None:
    with torch.inference_mode():
        found = [(core, share) for _, core, share in each_part(_run(34 * 16 * 16), 1, stage, WHOLE)]
    assert len(found) > 1
    assert [share for _, share in found] == [(i + 1) / len(found) for i in range(len(found))]
