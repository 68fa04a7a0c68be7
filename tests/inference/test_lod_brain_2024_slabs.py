import pytest
import torch

from lodbrain.inference import lod_brain_2024_slabs as module
from lodbrain.inference.lod_brain_2024_slabs import MARGIN, brain_box, logits_in_slabs
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.tiling import slices
from lodbrain.models.lod_brain_2024 import LodBrain2024


@pytest.mark.parametrize(
    ("thickness", "kept_bytes", "tolerance"), [(2, 4, 1e-5), (8, 4, 1e-5), (16, 4, 1e-5), (64, 4, 1e-5), (16, 2, 1e-3)]
)
def test_slabs_give_the_logits_of_one_forward_pass(
    lod_brain_2024: LodBrain2024,
    thickness: int,
    kept_bytes: int,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept_bytes)
    x = torch.randn(1, 1, 40, 24, 16, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        whole = lod_brain_2024(x)
    box = ((3, 38), (0, 24), (5, 12))
    result = torch.full_like(whole, torch.nan)
    for slab, logits in logits_in_slabs(lod_brain_2024, x, box, thickness=thickness, sampled=1):
        result[..., *slices(slab)] = logits
    expected = whole[:, :, 3:38, :, 5:12]
    torch.testing.assert_close(result[:, :, 3:38, :, 5:12], expected, rtol=0, atol=tolerance * float(whole.abs().max()))
    assert int(result.isfinite().sum()) == expected.numel()


def test_group_norm_pooled_over_slabs_of_unequal_mean_is_that_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(1, 8, 12, 3, 3, generator=generator) + torch.arange(12.0)[:, None, None] ** 2
    norm = torch.nn.GroupNorm(2, 8, eps=1e-3)
    torch.nn.init.normal_(norm.weight, generator=generator)
    torch.nn.init.normal_(norm.bias, generator=generator)
    parts = [torch.var_mean(part, dim=(0, 2, 3, 4), correction=0) for part in (x[:, :, :8], x[:, :, 8:])]
    variances, means = (torch.stack([part[i].double() for part in parts]) for i in (0, 1))
    with torch.inference_mode():
        scale, shift = module._group_norm(norm, variances, means, torch.tensor([72, 36]))
        result = x * scale[:, None, None, None] + shift[:, None, None, None]
        torch.testing.assert_close(result.float(), norm(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_small_box_gives_the_logits_of_one_forward_pass_too(lod_brain_2024: LodBrain2024, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and working_dtype("auto", torch.device("cpu")) != dtype:
        pytest.skip("this processor emulates bfloat16, which takes a minute and a half")
    x = torch.randn(1, 1, 48, 40, 32, generator=torch.Generator().manual_seed(5))
    x[:, :, :12] = x[:, :, :, 34:] = -0.7  # padding
    box, scan = ((20, 33), (10, 22), (8, 24)), ((12, 48), (0, 34), (0, 32))
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        expected = lod_brain_2024(x)[..., *slices(box)].float()
        found = torch.full_like(expected, torch.nan)
        for ((start, stop), _, _), logits in logits_in_slabs(lod_brain_2024, x, box, scan=scan, sampled=1):
            found[:, :, start - 20 : stop - 20] = logits
    tolerance = 0.03 if dtype == torch.bfloat16 else 2e-3  # edges of the padding stand for its inside
    assert float((found - expected).abs().max() / expected.abs().max()) < tolerance


def test_a_sample_of_what_lies_outside_estimates_the_statistics(lod_brain_2024: LodBrain2024) -> None:
    random = torch.Generator().manual_seed(6)
    x = torch.randn(1, 1, 96, 40, 32, generator=random) + torch.linspace(-1, 1, 96)[:, None, None]
    box = ((40, 56), (10, 30), (8, 24))
    with torch.inference_mode():
        expected = lod_brain_2024(x)[..., *slices(box)]
        errors = []
        for share in (1.0, 0.25):
            parts = [logits for _, logits in logits_in_slabs(lod_brain_2024, x, box, sampled=share)]
            errors.append(float((torch.cat(parts, 2) - expected).abs().mean() / expected.abs().mean()))
    assert errors[0] < 1e-4
    assert 1e-4 < errors[1] < 0.03


@pytest.mark.parametrize(("start", "stop"), [(0, 40), (4, 30), (10, 64), (0, 64), (62, 64)])
def test_samples_stand_for_all_planes_and_hold_the_edges_of_the_volume(start: int, stop: int) -> None:
    samples = module._sampled(((start, stop), (0, 8), (0, 8)), 0.25, 64)
    assert sum(weight * (box[0][1] - box[0][0]) for box, weight in samples) == pytest.approx(stop - start)
    planes = [plane for box, _ in samples for plane in range(*box[0])]
    assert len(planes) == len(set(planes))
    assert set(planes) <= set(range(start, stop))
    assert all(box[0][0] % 2 == 0 == box[0][1] % 2 for box, _ in samples)
    if start == 0:
        assert {0, 1} <= set(planes)
    if stop == 64:
        assert {62, 63} <= set(planes)


def test_six_boxes_lie_around_a_box() -> None:
    covered = torch.zeros(10, 8, 6, dtype=torch.int)
    box, whole = ((2, 6), (2, 8), (0, 4)), ((0, 10), (0, 8), (0, 6))
    for part in module._around(box, whole):
        covered[slices(part)] += 1
    assert int(covered[slices(box)].sum()) == 0
    covered[slices(box)] += 1
    assert bool((covered == 1).all())


def test_brain_is_where_level_0_sees_it_with_a_margin(
    lod_brain_2024: LodBrain2024, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = ((8, 120), (0, 100), (4, 90))
    logits = torch.zeros(1, 7, 64, 56, 48)
    monkeypatch.setattr(type(lod_brain_2024.head), "forward", lambda self, x: logits)
    coarse = torch.zeros(1, 32, 2, 2, 2)
    assert brain_box(lod_brain_2024, coarse, scan) == scan  # all background
    logits[:, 3, 20:30, 25:49, 10:12] = 1
    assert brain_box(lod_brain_2024, coarse, scan) == (
        (40 - MARGIN, 60 + MARGIN),
        (50 - MARGIN, 100),
        (20 - MARGIN, 24 + MARGIN),
    )
