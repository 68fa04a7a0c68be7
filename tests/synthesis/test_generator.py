from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lodbrain.labels import CLASS_OF_INDEX, MIRROR_OF_CLASS, N_CLASSES
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.generator import GeneratorSettings, ScanPlan, draw_plan, render
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import BRAIN_CODES, CLASS_OF_CODE, CODE_OF_RAW, LabelMap
from lodbrain.synthesis.steps.background_noise import Background
from lodbrain.synthesis.steps.blur import RandomBlur
from lodbrain.synthesis.steps.defacing import RandomDefacing
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.noise import RandomNoise
from lodbrain.synthesis.steps.receive import Bias, RandomBias
from lodbrain.synthesis.steps.skull_stripping import RandomStripping, Stripping
from lodbrain.synthesis.steps.texture import RandomTexture, Texture
from lodbrain.synthesis.steps.wrap import Wrap

SETTINGS = GeneratorSettings(field_of_view=RandomFieldOfView(voxel_mm=(4.0, 5.0)))
GRID = Grid((36, 40, 32), (4.0, 4.0, 4.0), (-72.0, -80.0, -64.0))
PlainPlan = Callable[[Grid, torch.Tensor], ScanPlan]


def _plan(head: LabelMap, seed: int = 0, settings: GeneratorSettings = SETTINGS) -> ScanPlan:
    return draw_plan(head, settings, torch.Generator().manual_seed(seed))


def _half_space(voxel_mm: float = 1.0) -> LabelMap:
    """White matter where x < 8 mm, background beyond, in a cube of 16 mm."""
    n = round(16 / voxel_mm)
    codes = torch.zeros(n, n, n, dtype=torch.uint8)
    codes[: n // 2] = CODE_OF_RAW[2]
    box = torch.tensor([[0.0, 0, 0], [8, 16, 16]], dtype=torch.float64)
    spacing = torch.full((3,), voxel_mm, dtype=torch.float64)
    return LabelMap(codes, torch.zeros_like(codes), spacing, box, box.mean(0))


def test_same_seed_same_pair(head: LabelMap) -> None:
    plans = [_plan(head, 5) for _ in range(2)]
    assert plans[0].scan == plans[1].scan
    pairs = [render(plan, head, plan.scan) for plan in plans]
    assert torch.equal(pairs[0][0], pairs[1][0])
    assert torch.equal(pairs[0][1], pairs[1][1])
    assert _plan(head, 6).scan != plans[0].scan


def test_order_of_rendering_does_not_matter(head: LabelMap) -> None:
    plan = _plan(head, 2)
    grids = [(plan.scan, 1), (plan.scan.coarser(2), 2), (plan.scan.crop((2, 4, 6), (8, 8, 8)), 1)]
    there = [render(plan, head, grid, coarseness=c) for grid, c in grids]
    torch.rand(7)  # whatever else draws
    back = [render(plan, head, grid, coarseness=c) for grid, c in reversed(grids)]
    for (image, target), (image2, target2) in zip(there, reversed(back), strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(target, target2)


@pytest.mark.parametrize("seed", range(6))
def test_target_sums_to_one_and_image_is_finite(head: LabelMap, seed: int) -> None:
    plan = _plan(head, seed)
    image, target = render(plan, head, plan.scan.coarser(2), coarseness=2)
    assert target.shape == (N_CLASSES, *image.shape)
    torch.testing.assert_close(target.sum(0), torch.ones(image.shape), atol=1e-5, rtol=0)
    assert float(target.min()) >= -1e-6
    assert bool(image.isfinite().all())
    assert float(target[1:].sum()) > 100


def test_without_strengths_the_image_is_the_mean_of_each_label(head: LabelMap, plain_plan: PlainPlan) -> None:
    n = torch.tensor(head.codes.shape)
    grid = Grid((int(n[0]), int(n[1]), int(n[2])), (4.0, 4.0, 4.0), (-70.0, -70.0, -70.0))
    plan = plain_plan(grid, torch.full((3,), 70.0))
    image, target = render(plan, head, grid)
    codes = head.codes.long()
    assert torch.equal(image, plan.contrast.means[codes, 0])
    assert torch.equal(target.argmax(0), CLASS_OF_CODE[codes])
    assert set(target.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(("supersample", "corner", "share"), [(4, -0.5, 0.25), (4, -1.5, 0.75), (2, -1.0, 0.5)])
def test_half_space_has_exact_partial_volume(
    plain_plan: PlainPlan, supersample: int, corner: float, share: float
) -> None:
    # voxel 4 of 2 mm goes from corner + 8 to corner + 10 mm of scanner space, the boundary lies at 8 mm of the map
    grid = Grid((6, 4, 4), (2.0, 2.0, 2.0), (corner - 8.0, -4.0, -4.0))
    plan = plain_plan(grid, torch.tensor([8.0, 8.0, 8.0]))
    image, target = render(plan, _half_space(), grid, supersample=supersample)
    white = target[CLASS_OF_INDEX[2]]
    assert white[4, 0, 0].item() == share
    assert bool((white[:4] == 1).all())
    assert bool((white[5:] == 0).all())
    assert bool((white == white[:, :1, :1]).all())
    torch.testing.assert_close(image, white * 160)


def test_coarse_target_is_the_mean_of_the_fine_one(head: LabelMap) -> None:
    plan = replace(_plan(head, 3), stripping=None)
    fine = plan.scan.crop((4, 4, 4), (16, 16, 16))
    _, whole = render(plan, head, fine, supersample=2)
    _, pooled = render(plan, head, fine.coarser(2), coarseness=2, supersample=4)
    # The same sample points: only rounding can move one across a boundary.
    torch.testing.assert_close(torch.nn.functional.avg_pool3d(whole, 2), pooled, atol=1 / 32, rtol=0)


def test_crop_shows_the_same_head(head: LabelMap) -> None:
    plan = replace(_plan(head, 4), stripping=None)
    _, whole = render(plan, head, plan.scan)
    _, part = render(plan, head, plan.scan.crop((5, 3, 2), (10, 12, 11)))
    assert float((part - whole[:, 5:15, 3:15, 2:13]).abs().max()) <= 1 / 8


def test_flipped_deformation_swaps_the_labels(head: LabelMap, plain_plan: PlainPlan) -> None:
    plan = plain_plan(GRID, head.brain_box_mm.mean(0))
    mirror = replace(plan.deformation, flipped=True)
    _, target = render(plan, head, GRID)
    _, flipped = render(replace(plan, deformation=mirror), head, GRID)
    assert float(target[CLASS_OF_INDEX[2]].sum()) > 100
    # The plane between the sides falls on a sample's edge: leave its voxels out.
    expected = target.flip(1)[torch.as_tensor(MIRROR_OF_CLASS)]
    differ = (flipped != expected).any(0)
    assert float(differ.float().mean()) < 0.01
    left = flipped[CLASS_OF_INDEX[2]].nonzero()[:, 0].float().mean()
    right = flipped[CLASS_OF_INDEX[41]].nonzero()[:, 0].float().mean()
    assert float(left) < float(right)  # left stays on the left of the scan


def test_stripping_keeps_the_brain_and_blacks_out_the_rest(head: LabelMap, plain_plan: PlainPlan) -> None:
    error = RandomField(0, 14.0)
    plain = plain_plan(GRID, head.brain_box_mm.mean(0))
    stripped = replace(plain, stripping=Stripping(-0.5, error, 2.0))
    image, target = render(plain, head, GRID, supersample=1)
    image_s, target_s = render(stripped, head, GRID, supersample=1)
    brain_classes = [int(CLASS_OF_CODE[code]) for code in BRAIN_CODES if CLASS_OF_CODE[code] > 0]
    brain = target[brain_classes].sum(0) > 0
    assert torch.equal(image_s[brain], image[brain])
    assert torch.equal(target_s[:, brain], target[:, brain])
    gone = image_s == 0
    skin = (target[0] == 1) & (image == 0)
    assert bool(gone[skin].all())
    assert bool((target_s[0][gone & ~brain] == 1).all())
    torch.testing.assert_close(target_s.sum(0), torch.ones(GRID.shape))


def test_each_step_draws_for_itself(head: LabelMap) -> None:
    plain = _plan(head, 8)
    blurred = _plan(head, 8, replace(SETTINGS, blur=RandomBlur(9.0), texture=RandomTexture(0.0)))
    assert blurred.blur != plain.blur
    assert (blurred.scan, blurred.deformation, blurred.noise, blurred.seed) == (
        plain.scan,
        plain.deformation,
        plain.noise,
        plain.seed,
    )


def test_rendering_is_the_same_on_one_thread_and_on_two(head: LabelMap) -> None:
    plan = replace(_plan(head, 5), bias=Bias(RandomField(1, 50.0), 0.5), texture=Texture(RandomField(2, 8.0), 0.1))
    grid = Grid((60, 70, 64), (2.0, 2.0, 2.0), (-60.0, -70.0, -64.0))
    one = render(plan, head, grid)
    torch.set_num_threads(2)
    two = render(plan, head, grid)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_largest_class_is_that_of_the_shares(head: LabelMap) -> None:
    plan = _plan(head, 3)
    image, shares = render(plan, head)
    same, classes = render(plan, head, target="classes")
    assert torch.equal(image, same)
    assert classes.dtype == torch.uint8
    chosen = shares.gather(0, classes[None].long())[0]
    torch.testing.assert_close(chosen, shares.max(0).values)


def test_half_filled_voxels_take_the_class_of_their_centre(plain_plan: PlainPlan) -> None:
    # the boundary at 8 mm goes through the middle of voxel 4 of 2 mm (from 7 to 9 mm): its centre lies just beyond
    grid = Grid((6, 4, 4), (2.0, 2.0, 2.0), (-9.0, -4.0, -4.0))
    plan = plain_plan(grid, torch.tensor([8.0, 8.0, 8.0]))
    _, shares = render(plan, _half_space(), grid)
    assert shares[0, 4, 0, 0] == shares[1, 4, 0, 0] == 0.5
    for nudge, expected in ((-0.01, 1), (0.01, 0)):
        moved = replace(plan, deformation=replace(plan.deformation, origin_mm=(8.0 + nudge, 8.0, 8.0)))
        assert int(render(moved, _half_space(), grid, target="classes")[1][4, 0, 0]) == expected


def test_background_is_replaced_and_the_brain_is_not(head: LabelMap, plain_plan: PlainPlan) -> None:
    plan = plain_plan(GRID, head.brain_box_mm.mean(0))
    plain, target = render(plan, head, GRID)
    air, brain = (target[0] == 1) & (plain == 0), target[1:].sum(0) == 1
    for kind, level, mean in (("rician", 0.05, 8 * (torch.pi / 2) ** 0.5), ("mp2rage", 1.0, 80.0)):
        noisy, _ = render(replace(plan, background=Background(kind, level)), head, GRID)
        assert float(noisy[air].mean()) == pytest.approx(mean, rel=0.03)
        assert float((noisy - plain)[brain].abs().max()) < 0.05 * 160
    masked, _ = render(replace(plan, bias=Bias(RandomField(0, 40.0), 0.2), background=Background("zero")), head, GRID)
    assert bool((masked[air] == 0).all())


def test_wrap_adds_what_lies_one_field_of_view_away(head: LabelMap, plain_plan: PlainPlan) -> None:
    whole = plain_plan(GRID, head.brain_box_mm.mean(0))
    image, target = render(whole, head)
    narrow = replace(whole, scan=GRID.crop((0, 10, 0), (36, 20, 32)), wrap=Wrap(1))
    wrapped, narrow_target = render(narrow, head)
    folded = image[:, 10:30].clone()
    folded[:, 10:] += image[:, :10]
    folded[:, :10] += image[:, 30:]
    torch.testing.assert_close(wrapped, folded)
    assert torch.equal(narrow_target, target[:, :, 10:30])  # labels do not wrap
    assert float((wrapped - image[:, 10:30]).max()) > 50


@pytest.mark.parametrize(("stripped", "defaced"), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)])
def test_shares_decide_what_is_removed(head: LabelMap, stripped: float, defaced: float) -> None:
    settings = replace(SETTINGS, stripping=RandomStripping(stripped), defacing=RandomDefacing(defaced))
    for seed in range(4):
        plan = _plan(head, seed, settings)
        assert (plan.stripping is not None) == (stripped == 1)
        assert (plan.defacing is not None) == (stripped == 0 and defaced == 1)
        if plan.stripping is not None:
            assert plan.background is None and plan.wrap is None


def test_voxel_size_that_is_asked_for_is_that_of_the_scan(head: LabelMap) -> None:
    plan = draw_plan(head, GeneratorSettings(), torch.Generator().manual_seed(1), voxel_mm=4.5)
    assert plan.scan.spacing_mm == pytest.approx((4.5, 4.5, 4.5))


def test_zero_strengths_give_the_plain_head(head: LabelMap, plain_plan: PlainPlan) -> None:
    settings = replace(
        SETTINGS,
        bias=RandomBias(0.0),
        uhf_share=0.0,
        noise=RandomNoise(0.0),
        blur=RandomBlur(0.0),
        texture=RandomTexture(0.0),
        contrasts=Contrasts(within=0.0),
    )
    plan = _plan(head, 1, settings)
    plan = replace(plan, slices=None, motion=None, ghosts=None, wrap=None, background=None, tone=None, lesions=None)
    plan = replace(plan, stripping=None, defacing=None)
    steps = (plan.bias, plan.noise, plan.blur, plan.texture)
    assert None not in steps
    bare = replace(plan, bias=None, noise=None, blur=None, texture=None)
    assert torch.equal(render(plan, head)[0], render(bare, head)[0])


def test_field_of_view_holds_most_of_the_brain(head: LabelMap) -> None:
    shares = []
    whole = Grid((50, 50, 50), (4.0, 4.0, 4.0), (-100.0, -100.0, -100.0))
    for seed in range(6):
        plan = replace(_plan(head, seed), stripping=None)
        _, target = render(plan, head, plan.scan, supersample=1)
        _, everywhere = render(plan, head, whole, supersample=1)
        voxel = plan.scan.spacing_mm[0] * plan.scan.spacing_mm[1] * plan.scan.spacing_mm[2]
        shares.append(float(target[1:].sum()) * voxel / (float(everywhere[1:].sum()) * 64))
    assert min(shares) > 0.8
