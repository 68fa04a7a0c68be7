"""Averaging of two members' tissues, on posteriors whose mean can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lodbrain.inference.decide import decide
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.second_opinion import (
    ASKED_MM,
    FULL_AGREEMENT,
    NO_AGREEMENT,
    SecondOpinion,
    grid_for,
    is_asked,
    tissues_of,
    weight_at,
)
from lodbrain.inference.sink import Sink
from lodbrain.inference.tiling import Box
from lodbrain.labels import SIDELESS, STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.lod import LevelOutput

GRID = WorkingGrid((6, 5, 4), (1.0, 1.0, 1.0), True)
WHOLE: Box = ((0, 6), (0, 5), (0, 4))


def _detail(*, sided: bool) -> LevelOutput:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn((1, 33 if sided else 19, *GRID.shape), generator=random)
    return LevelOutput(logits, logits, None if sided else 9 * torch.randn((1, 1, *GRID.shape), generator=random))


def _opinion(weight: float, box: Box = WHOLE, grid: WorkingGrid = GRID) -> SecondOpinion:
    shape = [stop - start for start, stop in box]
    posteriors = torch.randn((7, *shape), generator=torch.Generator().manual_seed(1)).mul(2).softmax(0)
    return SecondOpinion(grid, box, posteriors.half(), weight)


@pytest.mark.parametrize("sided", [True, False])
@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0])
def test_tissues_are_averaged_and_structures_keep_their_shares_of_a_tissue(sided: bool, weight: float) -> None:
    output, second = _detail(sided=sided), _opinion(weight)
    found, _ = second.mixed(output, GRID, WHOLE)
    own, mean = tissues_of(output.logits[0]), tissues_of(found.logits[0])
    torch.testing.assert_close(mean, (1 - weight) * own + weight * second.posteriors.float(), rtol=1e-3, atol=1e-4)
    before, after = output.logits[0].softmax(0), found.logits[0].softmax(0)
    names = [label.name for label in STRUCTURES] if sided else list(SIDELESS)
    a, b = names.index("Left-Thalamus" if sided else "Thalamus"), names.index("Left-Caudate" if sided else "Caudate")
    torch.testing.assert_close(after[a] / after[b], before[a] / before[b], rtol=1e-3, atol=0)
    c = names.index("CSF")  # told from background by the ladder alone
    torch.testing.assert_close(after[c] / after[0], before[c] / before[0], rtol=1e-3, atol=0)
    assert found.side is output.side


def test_weight_of_nothing_leaves_the_ladder_alone() -> None:
    output, second = _detail(sided=False), _opinion(0.0)
    assert second.mixed(output, GRID, WHOLE)[0] is output
    assert second.disagreement > 0.5  # noise; it is measured all the same


def test_certain_members_that_contradict_each_other_give_a_finite_mean() -> None:
    logits = torch.full((1, 33, *GRID.shape), -200.0)
    logits[:, 1] = 200  # left white matter, and nothing of the other tissues
    second = SecondOpinion(GRID, WHOLE, torch.zeros((7, *GRID.shape), dtype=torch.float16), 0.7)
    second.posteriors[6] = 1
    found = second.mixed(LevelOutput(logits, logits), GRID, WHOLE)[0].logits[0].softmax(0)
    torch.testing.assert_close(found[1], torch.full(GRID.shape, 1.0))  # a brainstem of 1e-170 cannot be shared out
    assert bool(found.isfinite().all())


def test_disagreement_is_the_share_of_the_brain_with_two_tissues() -> None:
    logits = torch.zeros((1, 33, *GRID.shape))
    logits[:, 1, :3] = 20  # white matter in half of it
    logits[:, 0, 3:] = 20
    second = SecondOpinion(GRID, WHOLE, torch.zeros((7, *GRID.shape), dtype=torch.float16), 0.5)
    second.posteriors[3, :2] = 1  # white matter
    second.posteriors[1, 2:4] = 1  # grey matter
    second.posteriors[0, 4:] = 1
    second.mixed(LevelOutput(logits, logits), GRID, WHOLE)
    assert second.disagreement == pytest.approx(2 / 4)
    assert second.agreement(LevelOutput(logits, logits), GRID, WHOLE) == pytest.approx((2 * 2 / 5) / 6)


def test_beyond_its_box_all_is_background_to_the_second_member() -> None:
    box: Box = ((1, 4), (0, 5), (2, 4))
    second = _opinion(0.5, box)
    found = second.over(GRID, WHOLE)
    torch.testing.assert_close(found[:, 1:4, :, 2:], second.posteriors.float())
    assert bool((found[0, 4:] == 1).all())
    assert float(found[1:, :, :, :2].max()) == 0


@pytest.mark.parametrize("side_mm", [0.5, 0.8, 1.5])
def test_posteriors_are_interpolated_to_the_scan_and_sum_to_one(side_mm: float) -> None:
    shape = tuple(int(n / side_mm) for n in GRID.shape)
    scan = WorkingGrid(shape, (side_mm,) * 3, True)  # type: ignore[arg-type]
    ramp = torch.linspace(0, 1, 6)[:, None, None].expand(GRID.shape)
    posteriors = torch.zeros((7, *GRID.shape))
    posteriors[0], posteriors[3] = 1 - ramp, ramp
    second = SecondOpinion(GRID, WHOLE, posteriors.half(), 0.5)
    part: Box = ((1, shape[0]), (0, shape[1]), (0, 2))
    found = second.over(scan, part)
    torch.testing.assert_close(found.sum(0), torch.ones(found.shape[1:]), rtol=0, atol=1e-3)
    inner = found[3, 1:-1, 0, 0]  # linear where no edge is near
    at = (torch.arange(2, shape[0] - 1) + 0.5) * side_mm - 0.5
    if side_mm <= 1:
        torch.testing.assert_close(inner, (at / 5).clamp(0, 1), rtol=0, atol=2e-3)
    assert bool((inner.diff() > -1e-3).all())


def test_sink_decides_the_mean_whatever_the_tiles() -> None:
    output, second = _detail(sided=False), _opinion(0.5)
    expected = decide(_opinion(0.5).mixed(output, GRID, WHOLE)[0], posteriors=True)
    sink = Sink(GRID, GRID, WHOLE, posteriors=True, second=second)
    for x in ((0, 2), (2, 6)):
        sink.take(output.map(lambda t, x=x: t[:, :, x[0] : x[1]]), (x, (0, 5), (0, 4)))
    found = sink.finish()
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.posteriors, expected.posteriors, atol=1e-3)
    own = tissues_of(output.logits[0]).argmax(0)
    np.testing.assert_array_equal(found.disagreement, (own != second.posteriors.float().argmax(0)).numpy())
    assert (TISSUE_OF_CLASS[found.classes] != TISSUE_OF_CLASS[decide(output, posteriors=False).classes]).any()


def test_members_agree_beyond_the_box_and_a_ladder_alone_has_no_disagreement() -> None:
    box: Box = ((1, 5), (0, 5), (1, 4))
    sink = Sink(GRID, GRID, box, posteriors=False, second=_opinion(0.0))
    sink.take(_detail(sided=True), WHOLE)
    found = sink.finish().disagreement
    assert found is not None
    assert found[1:5, :, 1:].mean() > 0.5  # noise
    assert not found[:, :, 0].any() and not found[0].any() and not found[5].any()
    alone = Sink(GRID, GRID, box, posteriors=False)
    alone.take(_detail(sided=True), WHOLE)
    assert alone.finish().disagreement is None


def test_disagreement_of_a_resampled_scan_is_on_the_scans_grid() -> None:
    scan = WorkingGrid((3, 5, 8), (2.0, 1.0, 0.5), True)
    sink = Sink(scan, replace(GRID, native=False), WHOLE, posteriors=False, second=_opinion(0.5))
    sink.take(_detail(sided=False), WHOLE)
    found = sink.finish().disagreement
    assert found is not None
    assert found.shape == scan.shape
    assert found.sum() == sink.second.differing_vox > 0  # type: ignore[union-attr]


def test_lod_brain_sees_about_1_mm_as_it_is_and_the_rest_at_1_mm() -> None:
    near = WorkingGrid((10, 10, 10), (0.94, 0.94, 1.05), True)
    assert grid_for(near) is near
    assert grid_for(WorkingGrid((100, 100, 60), (0.7, 0.7, 0.7), True)) == WorkingGrid(
        (70, 70, 42), (1.0, 1.0, 1.0), False
    )


def test_weight_falls_with_agreement_and_says_so() -> None:
    assert weight_at(1.0, 0.6) == (0.6, "")
    assert weight_at(FULL_AGREEMENT, 0.6) == (0.6, "")
    weight, note = weight_at((NO_AGREEMENT + FULL_AGREEMENT) / 2, 0.6)
    assert weight == pytest.approx(0.3)
    assert note.startswith("LOD-Brain's weight was lowered from 0.6 to 0.30: it agrees with the ladder to 0.79 only")
    weight, note = weight_at(NO_AGREEMENT, 0.6)
    assert weight == 0
    assert note.startswith("LOD-Brain was left out")


@pytest.mark.parametrize(("side_mm", "asked"), [(0.6, False), (0.8, False), (0.9, True), (1.2, True), (2.0, False)])
def test_scans_far_from_1_mm_are_the_ladders_alone(side_mm: float, asked: bool) -> None:
    assert is_asked(WorkingGrid((9, 9, 9), (side_mm,) * 3, True)) is asked  # type: ignore[arg-type]
    assert ASKED_MM[0] < 1 < ASKED_MM[1]
