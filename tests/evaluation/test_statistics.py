"""All statistics together."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lodbrain.evaluation.score import ScoreRow
from lodbrain.evaluation.statistic_records import ALL, MEAN, GroupMean, RegionPlace, Statistics
from lodbrain.evaluation.statistics import analyse

GREY, WHITE = RegionPlace("tissue", "Grey-Matter", "both"), RegionPlace("tissue", "White-Matter", "both")
TISSUE_MEAN = RegionPlace("tissue", MEAN, "both")


def rows(offset: float, cases: Sequence[str], places: Sequence[RegionPlace] = (GREY, WHITE)) -> list[ScoreRow]:
    """Dice 0.8 + offset in the first case, 0.01 more in each next one, 0.05 more in each next region."""
    return [
        ScoreRow(
            case=case,
            level=place.level,  # type: ignore[arg-type]
            region=place.region,
            side=place.side,  # type: ignore[arg-type]
            status="both",
            dice=0.8 + offset + 0.01 * n + 0.05 * k,
            volume_similarity=1.0,
            hd95_mm=2.0,
            assd_mm=0.5,
            nsd_1vox=0.9,
            nsd_1mm=0.9,
            pred_volume_mm3=1000.0 + n,
            ref_volume_mm3=1000.0,
        )
        for n, case in enumerate(cases)
        for k, place in enumerate(places)
    ]


def mean_of(found: Statistics, **wanted: object) -> GroupMean:
    (each,) = [each for each in found.means if all(getattr(each, name) == value for name, value in wanted.items())]
    return each


CASES = [f"sub-{n}" for n in range(8)]


def test_means_by_model_group_and_region() -> None:
    groups = {"site": {"A": CASES[:4], "B": CASES[4:]}}
    found = analyse({"x": rows(0, CASES), "y": rows(0.02, CASES)}, groups=groups)
    everyone = mean_of(found, model="x", column=ALL, place=GREY, metric="dice")
    assert everyone.interval.mean == pytest.approx(0.8 + 0.01 * 3.5)
    assert everyone.interval.low < everyone.interval.mean < everyone.interval.high
    of_b = mean_of(found, model="y", column="site", group="B", place=WHITE, metric="dice")
    assert (of_b.interval.mean, of_b.interval.n) == (pytest.approx(0.87 + 0.01 * 5.5), 4)


def test_the_mean_of_a_level_is_over_the_regions_that_all_models_have() -> None:
    third = RegionPlace("tissue", "Ventricles", "both")
    found = analyse({"x": rows(0, CASES, (GREY, WHITE, third)), "y": rows(0, CASES, (GREY, WHITE))})
    for model in ("x", "y"):
        mean = mean_of(found, model=model, column=ALL, place=TISSUE_MEAN, metric="dice")
        assert mean.interval.mean == pytest.approx(0.8 + 0.025 + 0.01 * 3.5)


def test_the_mean_of_structures_holds_each_once_and_no_csf() -> None:
    places = (
        RegionPlace("merged", "Thalamus", "both"),
        RegionPlace("structure", "Brain-Stem", "midline"),
        RegionPlace("structure", "Thalamus", "left"),
        RegionPlace("structure", "CSF", "midline"),
    )
    found = analyse({"x": rows(0, ["sub-1"], places)})
    mean = mean_of(found, column=ALL, place=RegionPlace("merged", MEAN, "both"), metric="dice")
    assert mean.interval.mean == pytest.approx(0.825)


def test_models_are_compared_in_pairs_with_correction() -> None:
    found = analyse({"x": rows(0, CASES), "y": rows(-0.02, CASES)})
    dice = {each.place: each for each in found.comparisons if each.metric == "dice"}
    assert dice[GREY].found.difference.mean == pytest.approx(0.02)
    assert dice[GREY].found.p == 2 / 2**8
    assert dice[GREY].p_holm == dice[WHITE].p_holm == 2 * 2 / 2**8  # a family of two regions
    assert dice[TISSUE_MEAN].p_holm == 2 / 2**8  # the mean is a family of its own
    assert found.notes == ("With 8 subjects the smallest p of Wilcoxon's test is 0.0078, before correction.",)


def test_cases_that_a_model_lacks_are_said() -> None:
    found = analyse({"x": rows(0, CASES), "y": rows(0, CASES[:3])})
    assert found.notes[0].startswith("Not every model has every case (x 8, y 3); 3 are compared in pairs.")
    assert "With 3 subjects Wilcoxon's test cannot fall below 0.05" in found.notes[1]


def test_seen_sites_are_set_against_unseen_ones() -> None:
    found = analyse({"x": rows(0, CASES)}, seen=CASES[4:])
    (grey,) = [each for each in found.seen if each.place == GREY and each.metric == "dice"]
    assert grey.found.difference.mean == pytest.approx(0.04)
    assert grey.found.p < 0.05


def test_volumes_agree_and_are_repeated() -> None:
    found = analyse({"x": rows(0, ["sub-1_ses-1", "sub-1_ses-2", "sub-2_ses-1", "sub-2_ses-2"])})
    (grey,) = [each for each in found.agreement if each.place == GREY]
    assert grey.found.bias_mm3 == pytest.approx(1.5)
    (again,) = [each for each in found.retests if each.place == GREY]
    assert again.found.within_sd_mm3 == pytest.approx(math.sqrt(0.5))


def test_missed_structures_are_counted() -> None:
    missed = ScoreRow("sub-9", "tissue", "Grey-Matter", "both", "missed", 0, 0, math.nan, math.nan, 0, 0, 0, 9)
    found = analyse({"x": [*rows(0, CASES, (GREY,)), missed]})
    assert mean_of(found, column=ALL, place=GREY, metric="dice").missed == 1
    assert mean_of(found, column=ALL, place=GREY, metric="hd95_mm").interval.n == 8
    assert mean_of(found, column=ALL, place=GREY, metric="dice").interval.n == 9


def test_the_seed_decides_the_intervals() -> None:
    data = {"x": rows(0, CASES)}
    one, other, third = (analyse(data, seed=seed).means for seed in (0, 0, 1))
    assert one == other
    assert any(a.interval.low != b.interval.low for a, b in zip(one, third, strict=True))
    assert all(np.isfinite(each.interval.mean) for each in one)


def test_two_results_of_one_case_are_refused() -> None:
    with pytest.raises(ValueError, match="x has two results for both Grey-Matter of sub-0"):
        analyse({"x": rows(0, [CASES[0], CASES[0]], (GREY,))})
