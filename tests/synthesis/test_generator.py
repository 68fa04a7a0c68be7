from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lodbrain.labels import CLASS_OF_INDEX, MIRROR_OF_CLASS, N_CLASSES
from lodbrain.synthesis.artefacts import Stripping, Tone
from lodbrain.synthesis.deform import LATTICE_MM, Deformation
from lodbrain.synthesis.fields import Grid, SmoothField
from lodbrain.synthesis.generator import Plan, Settings, draw_plan, render
from lodbrain.synthesis.labelmaps import BRAIN_CODES, CLASS_OF_CODE, CODE_OF_RAW, LabelMap

SETTINGS = Settings(voxel_mm=(4.0, 5.0))
GRID = Grid((36, 40, 32), (4.0, 4.0, 4.0), (-72.0, -80.0, -64.0))
PlainPlan = Callable[[Grid, torch.Tensor], Plan]


def _plan(head: LabelMap, seed: int = 0, settings: Settings = SETTINGS) -> Plan:
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
    mirror = Deformation(
        torch.diag(torch.tensor([-1.0, 1, 1])), plan.deformation.offset_mm, plan.deformation.displacement
    )
    _, target = render(plan, head, GRID)
    _, flipped = render(replace(plan, deformation=mirror), head, GRID)
    assert mirror.flipped
    assert float(target[CLASS_OF_INDEX[2]].sum()) > 100
    # The plane between the sides falls on a sample's edge: leave its voxels out.
    expected = target.flip(1)[torch.as_tensor(MIRROR_OF_CLASS)]
    differ = (flipped != expected).any(0)
    assert float(differ.float().mean()) < 0.01
    left = flipped[CLASS_OF_INDEX[2]].nonzero()[:, 0].float().mean()
    right = flipped[CLASS_OF_INDEX[41]].nonzero()[:, 0].float().mean()
    assert float(left) < float(right)  # left stays on the left of the scan


def test_stripping_keeps_the_brain_and_blacks_out_the_rest(head: LabelMap, plain_plan: PlainPlan) -> None:
    error = SmoothField(torch.randn((1, 30, 30, 30), generator=torch.Generator().manual_seed(0)), LATTICE_MM)
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


def test_texture_multiplies_the_image(head: LabelMap, plain_plan: PlainPlan) -> None:
    plan = plain_plan(GRID, head.brain_box_mm.mean(0))
    ripple = SmoothField(torch.ones(1, 30, 30, 30), LATTICE_MM)
    plain, _ = render(plan, head, GRID)
    textured, _ = render(replace(plan, texture=ripple, texture_strength=0.1), head, GRID)
    torch.testing.assert_close(textured, plain * 1.1)


def test_rician_background_is_only_added_where_asked(head: LabelMap, plain_plan: PlainPlan) -> None:
    plan = plain_plan(GRID, head.brain_box_mm.mean(0))
    noisy, _ = render(replace(plan, background=("rician", 5.0)), head, GRID)
    speckled, _ = render(replace(plan, background=("mp2rage", 100.0)), head, GRID)
    plain, target = render(plan, head, GRID)
    air = (target[0] == 1) & (plain == 0)
    assert float(noisy[air].min()) > 0
    assert float(noisy[air].mean()) == pytest.approx(7.5 * (torch.pi / 2) ** 0.5, rel=0.05)
    assert 45 < float(speckled[air].mean()) < 55
    assert torch.equal(speckled[plain > 1], plain[plain > 1])


@pytest.mark.parametrize(("stripped", "defaced"), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)])
def test_shares_decide_what_is_removed(head: LabelMap, stripped: float, defaced: float) -> None:
    settings = Settings(voxel_mm=(4.0, 5.0), stripped_share=stripped, defaced_share=defaced)
    for seed in range(4):
        plan = _plan(head, seed, settings)
        assert (plan.stripping is not None) == (stripped == 1)
        assert (plan.defacing is not None) == (stripped == 0 and defaced == 1)
        if plan.stripping is not None:
            assert plan.background == ("zero", 0.0)


def test_zero_settings_draw_a_plan_without_effects(head: LabelMap) -> None:
    settings = Settings(
        voxel_mm=(4.0, 4.0),
        anisotropy=0.0,
        stripped_share=0.0,
        defaced_share=0.0,
        bias=0.0,
        uhf_share=0.0,
        noise=0.0,
        blur_fwhm_vox=0.0,
        thick_share=0.0,
        gamma_sd=0.0,
        clip_share=0.0,
        texture=0.0,
    )
    plan = _plan(head, 1, settings)
    assert plan.tone == Tone()
    assert not plan.bias.log_field.control.any()
    assert plan.texture_strength == 0
    scan = plan.acquisition
    assert (scan.blur_fwhm_vox, scan.slice_mm, scan.noise) == (0, 0, 0)
    assert plan.scan.spacing_mm == pytest.approx((4, 4, 4))


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
