import itertools

import pytest
import torch

from lodbrain.synthesis.intensities import T1W_PRIOR, Contrast, Contrasts, draw_contrast
from lodbrain.synthesis.label_map import CODE_OF_RAW, MIRROR_OF_CODE, OUTSIDE

#: Everything on the prior's line, nothing inside a class.
EXACT = Contrasts(t1w_share=1.0, ordered_share=0.0, spread=0.0, within=0.0)
BRAIN = [code for raw, code in CODE_OF_RAW.items() if raw not in OUTSIDE]


def _draw(contrasts: Contrasts, seed: int = 0) -> Contrast:
    return draw_contrast(contrasts, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("raw", "mean", "sd"),
    [(2, 160, 16), (41, 160, 16), (3, 96, 19), (12, 124, 14), (13, 152, 9), (24, 44, 26), (16, 130, 18), (79, 116, 19)],
)
def test_prior_of_a_structure(raw: int, mean: float, sd: float) -> None:
    assert T1W_PRIOR[CODE_OF_RAW[raw]].tolist() == [mean, sd]


def test_prior_is_the_same_on_both_sides_and_empty_outside() -> None:
    assert torch.equal(T1W_PRIOR[MIRROR_OF_CODE], T1W_PRIOR)
    assert not T1W_PRIOR[[CODE_OF_RAW[raw] for raw in (0, *OUTSIDE)]].any()


def test_without_spread_a_t1w_contrast_is_the_prior() -> None:
    for seed in range(5):
        contrast = _draw(EXACT, seed)
        assert contrast.kind == "t1w"
        torch.testing.assert_close(contrast.means[BRAIN], T1W_PRIOR[BRAIN, :1].expand(-1, 4))
        assert not contrast.sds[BRAIN].any()
        assert contrast.white_matter == 160


def test_ordered_contrast_keeps_the_order_of_the_tissues() -> None:
    wm, gm, csf = (CODE_OF_RAW[raw] for raw in (2, 3, 24))
    for seed in range(20):
        contrast = _draw(Contrasts(t1w_share=0.0, ordered_share=1.0, spread=0.0), seed)
        means = contrast.means[:, 0]
        assert contrast.kind == "ordered"
        assert float(means[gm] - means[csf]) >= 12 - 1e-3
        assert float(means[wm] - means[gm]) >= 18 - 1e-3
        # putamen lies as far between grey and white matter as in a T1w scan
        along = (means[CODE_OF_RAW[12]] - means[gm]) / (means[wm] - means[gm])
        assert float(along) == pytest.approx((124 - 96) / (160 - 96), abs=1e-4)


def test_any_order_puts_three_tissues_in_every_order_and_keeps_them_apart() -> None:
    tissues = {name: CODE_OF_RAW[raw] for name, raw in (("white", 2), ("grey", 3), ("fluid", 24))}
    seen = set()
    for seed in range(100):
        contrast = _draw(Contrasts(t1w_share=0.0, ordered_share=0.0, any_order_share=1.0, spread=0.0), seed)
        means = {name: float(contrast.means[code, 0]) for name, code in tissues.items()}
        order = sorted(means, key=lambda name: means[name])
        assert contrast.kind == "any order"
        assert all(means[b] - means[a] >= 12 - 1e-3 for a, b in itertools.pairwise(order))
        putamen = float(contrast.means[CODE_OF_RAW[12], 0] - means["grey"]) / (means["white"] - means["grey"])
        assert putamen == pytest.approx((124 - 96) / (160 - 96), abs=1e-3)
        seen.add(tuple(order))
    assert seen == set(itertools.permutations(tissues))


def test_shares_decide_the_kind() -> None:
    assert {_draw(Contrasts(t1w_share=0.0, ordered_share=0.0), s).kind for s in range(5)} == {"random"}
    kinds = [_draw(Contrasts(), seed).kind for seed in range(400)]
    assert abs(kinds.count("t1w") / 400 - 0.6) < 0.08
    assert abs(kinds.count("ordered") / 400 - 0.25) < 0.08


def test_background_is_black_whatever_the_contrast() -> None:
    for seed in range(10):
        contrast = _draw(Contrasts(), seed)
        assert not contrast.means[0].any()
        assert not contrast.sds[0].any()
        assert float(contrast.means.min()) >= 0
        assert float(contrast.means.max()) <= 300


def test_sides_look_the_same_if_asked_to() -> None:
    for seed in range(5):
        same = _draw(Contrasts(same_sides_share=1.0), seed).means[BRAIN, 0]
        apart = _draw(Contrasts(t1w_share=0, ordered_share=0, same_sides_share=0.0), seed).means
        torch.testing.assert_close(same, _draw(Contrasts(same_sides_share=1.0), seed).means[MIRROR_OF_CODE][BRAIN, 0])
        assert float((apart - apart[MIRROR_OF_CODE]).abs().max()) > 10


def test_fat_and_muscle_have_several_grey_values() -> None:
    means = _draw(Contrasts()).means
    assert len(set(means[CODE_OF_RAW[516]].tolist())) == 4
    assert len(set(means[CODE_OF_RAW[2]].tolist())) == 1


def test_same_seed_same_contrast() -> None:
    one, two, other = _draw(Contrasts(), 3), _draw(Contrasts(), 3), _draw(Contrasts(), 4)
    assert torch.equal(one.means, two.means)
    assert torch.equal(one.sds, two.sds)
    assert not torch.equal(one.means, other.means)


def test_bright_deep_grey_matter_comes_at_least_half_way_to_white_matter_on_both_sides() -> None:
    deep, white, cortex = (CODE_OF_RAW[raw] for raw in (12, 2, 3))
    bright = Contrasts(t1w_share=1.0, ordered_share=0.0, spread=0.0, bright_deep_share=1.0)
    ways = []
    for seed in range(20):
        means = _draw(bright, seed).means[:, 0]
        ways.append(float((means[deep] - 124) / (160 - 124)))
        assert float(means[deep]) == pytest.approx(float(means[MIRROR_OF_CODE[deep]]), abs=1e-3)
        assert (float(means[white]), float(means[cortex])) == (160.0, 96.0)
    assert 0.5 <= min(ways) < 0.75 < max(ways) <= 1.0


def test_regions_of_a_tissue_differ_by_the_standard_deviation_asked_for() -> None:
    white, putamen = CODE_OF_RAW[2], CODE_OF_RAW[12]
    contrasts = Contrasts(t1w_share=1.0, ordered_share=0.0, spread=0.0, within=0.0, regional=5.0)
    means = torch.stack([_draw(contrasts, seed).means for seed in range(200)])
    assert float(means[:, white].std()) == pytest.approx(5.0, rel=0.1)
    assert torch.equal(means[:, white], means[:, MIRROR_OF_CODE[white]])
    assert not means[:, putamen].sub(124).any()


def test_both_steps_switched_off_leave_what_is_drawn_after_them_as_it_was() -> None:
    plain, regional = _draw(Contrasts(), 3), _draw(Contrasts(regional=4.0), 3)
    assert not torch.equal(plain.means, regional.means)
    assert torch.equal(plain.means[CODE_OF_RAW[12]], regional.means[CODE_OF_RAW[12]])
