import numpy as np
import pytest
import torch

from lodbrain.inference import sink as module
from lodbrain.inference.decide import decide
from lodbrain.inference.pyramid import WorkingGrid, resample
from lodbrain.inference.sink import Sink
from lodbrain.inference.tiling import Box
from lodbrain.models.lod import LevelOutput

SCAN = WorkingGrid((12, 10, 8), (1.0, 1.0, 1.0), True)
WHOLE: Box = ((0, 12), (0, 10), (0, 8))


def _detail(shape: tuple[int, int, int], *, sided: bool = True) -> LevelOutput:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn((1, 33 if sided else 19, *shape), generator=random)
    return LevelOutput(logits, logits, None if sided else 9 * torch.randn((1, 1, *shape), generator=random))


def _part(output: LevelOutput, box: Box) -> LevelOutput:
    x, y, z = (slice(a, b) for a, b in box)
    return output.map(lambda t: t[:, :, x, y, z])


@pytest.mark.parametrize("sided", [True, False])
def test_tiles_make_up_the_scan(sided: bool) -> None:
    output = _detail(SCAN.shape, sided=sided)
    sink = Sink(SCAN, SCAN, WHOLE, posteriors=True)
    for core in (((0, 6), (0, 10), (0, 8)), ((6, 12), (0, 4), (0, 8)), ((6, 12), (4, 10), (0, 8))):
        sink.take(_part(output, core), core)
    found, expected = sink.finish(), decide(output, posteriors=True)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.posteriors, expected.posteriors)
    np.testing.assert_allclose(found.soft_volume_vox, expected.soft_volume_vox, rtol=1e-5)


def test_what_lies_outside_of_the_box_is_background() -> None:
    output = _detail((16, 12, 8))  # padded
    sink = Sink(SCAN, SCAN, ((4, 40), (-3, 6), (0, 8)), posteriors=True)
    assert sink.box == ((4, 12), (0, 6), (0, 8))
    padded: Box = ((0, 16), (0, 12), (0, 8))
    sink.take(output, padded)
    sink.take(_part(output, ((0, 4), (0, 12), (0, 8))), ((0, 4), (0, 12), (0, 8)))  # wholly outside
    found = sink.finish()
    expected = decide(_part(output, sink.box), posteriors=True)
    np.testing.assert_array_equal(found.classes[4:, :6], expected.classes)
    assert not found.classes[:4].any()
    assert not found.classes[:, 6:].any()
    assert found.posteriors is not None
    assert (found.posteriors[0, :4] == 1).all()
    np.testing.assert_allclose(found.soft_volume_vox, expected.soft_volume_vox, rtol=1e-5)


@pytest.mark.parametrize("sided", [True, False])
@pytest.mark.parametrize(
    "grid",
    [
        WorkingGrid((6, 5, 4), (2.0, 2.0, 2.0), False, "twice as large"),
        WorkingGrid((12, 10, 16), (1.0, 1.0, 0.5), False, "finer along z"),
    ],
    ids=["coarser", "finer"],
)
def test_logits_are_interpolated_to_the_scan(grid: WorkingGrid, sided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERPOLATED_VOXELS", 200)  # several slabs
    output = _detail(grid.shape, sided=sided)
    box: Box = ((0, grid.shape[0]), (0, grid.shape[1]), (0, grid.shape[2]))
    sink = Sink(SCAN, grid, box, posteriors=False)
    half = grid.shape[0] // 2
    for core in (((0, half), *box[1:]), ((half, grid.shape[0]), *box[1:])):
        sink.take(_part(output, core), core)
    found = sink.finish()

    def fine(t: torch.Tensor) -> torch.Tensor:
        return torch.stack([resample(channel.half().float().numpy(), grid, SCAN) for channel in t[0]])[None]

    expected = decide(output.map(fine), posteriors=False)
    assert (found.classes != expected.classes).mean() < 0.002  # ties of float16
    np.testing.assert_allclose(found.soft_volume_vox, expected.soft_volume_vox, rtol=1e-3, atol=1e-2)


def test_interpolation_does_not_reach_beyond_the_box() -> None:
    grid = WorkingGrid((6, 5, 4), (2.0, 2.0, 2.0), False)
    output = _detail(grid.shape)
    box: Box = ((1, 5), (1, 4), (1, 3))
    sink = Sink(SCAN, grid, box, posteriors=True)
    sink.take(_part(output, box), box)
    found = sink.finish()
    assert found.posteriors is not None
    np.testing.assert_allclose(found.posteriors.astype(np.float32).sum(0), 1, atol=2e-3)
    filled = found.posteriors[0] != 1
    # Scan voxels whose two neighbours along each axis lie in the box: 1.5 to 4.5 of 2 mm, and so on.
    assert [(int(a.min()), int(a.max())) for a in np.nonzero(filled)] == [(3, 8), (3, 6), (3, 4)]


def test_nothing_taken_is_all_background() -> None:
    grid = WorkingGrid((6, 5, 4), (2.0, 2.0, 2.0), False)
    assert not Sink(SCAN, grid, ((0, 6), (0, 5), (0, 4)), posteriors=False).finish().classes.any()


def test_box_thinner_than_a_voxel_of_the_scan_is_all_background() -> None:
    grid = WorkingGrid((24, 20, 16), (0.5, 0.5, 0.5), False, "finer")
    sink = Sink(SCAN, grid, ((3, 4), (0, 20), (0, 16)), posteriors=False)
    sink.take(_detail(grid.shape), ((0, 24), (0, 20), (0, 16)))
    assert not sink.finish().classes.any()
