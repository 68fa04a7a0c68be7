import math
from collections.abc import Callable

import numpy as np
import pytest

from lodbrain.report.group_outliers import FEWEST, members_of, modified_z
from lodbrain.report.sidecars import ScanResults
from lodbrain.segmentation.usual_volumes import references

Make = Callable[..., ScanResults]


def usual(z: float = 0.0, brain_mm3: float = 1.1e6) -> dict[str, float]:
    """Volumes that lie z standard deviations from the reference."""
    found = {
        name: math.exp(row.mean_log + z * row.sd_log) * brain_mm3
        for name, row in references().items()
        if row.relative_to == "brain" and name.startswith(("Left-", "Right-"))
    }
    return {**found, "brain": brain_mm3}


def group(make: Make, count: int, **odd: dict[str, float]) -> list[ScanResults]:
    made = [make(f"s{n}", usual(0.1 * (n % 5 - 2), 1.1e6 + 1e4 * (n % 7))) for n in range(count)]
    return [*made, *(make(name, volumes) for name, volumes in odd.items())]


def test_modified_z_is_the_distance_in_robust_standard_deviations() -> None:
    values = np.random.default_rng(0).normal(5, 2, 10_001)
    np.testing.assert_allclose(modified_z([*values]), (values - np.median(values)) / 2, atol=0.12)


def test_modified_z_of_equal_values_is_zero_and_of_mostly_equal_ones_finite() -> None:
    assert modified_z([3.0] * 5) == [0.0] * 5
    assert modified_z([]) == []
    assert np.isfinite(modified_z([1.0] * 9 + [2.0])).all() and modified_z([1.0] * 9 + [2.0])[-1] > 3.5


def test_one_shrunken_hippocampus_among_many_is_found_and_named(make_results: Make) -> None:
    odd = usual()
    odd["Left-Hippocampus"] *= 0.6
    members = members_of(group(make_results, 20, odd=odd))
    assert [member.results.stem for member in members if member.reasons] == ["odd"]
    assert members[-1].reasons == ["unlike the others: left hippocampus (small)"]


def test_a_missing_structure_is_named_once(make_results: Make) -> None:
    (*_, member) = members_of(group(make_results, 20, odd={**usual(), "Right-Putamen": 0.0}))
    assert member.reasons == ["not found: right putamen"]


def test_a_few_scans_are_compared_with_what_is_usual_only(make_results: Make) -> None:
    odd = usual(5.0)
    few = members_of(group(make_results, FEWEST - 2, odd=odd))
    assert all(member.outlying is None for member in few)
    assert not any(member.reasons for member in few[:-1])
    assert few[-1].reasons[0].startswith("far from usual: ") and "and 24 more" in few[-1].reasons[0]


def test_signs_of_trouble_count(make_results: Make) -> None:
    (member,) = members_of([make_results("a", usual(), quality={"reasons": ["the field of view cuts the brain"]})])
    assert member.reasons == ["the field of view cuts the brain"]


@pytest.mark.parametrize("count", [1, 20])
def test_a_lost_table_is_a_reason(count: int, make_results: Make) -> None:
    (*_, member) = members_of(group(make_results, count, odd={}))
    assert member.reasons == ["its table of volumes is missing or broken"]


def test_a_tiv_that_a_mask_limits_is_not_compared_with_what_is_usual(make_results: Make) -> None:
    results = make_results("a", {**usual(), "TIV": 3e6})
    assert any("ntracranial" in reason for reason in members_of([results])[0].reasons)
    table = results.path.with_name("a_volumes.tsv")
    lines = [f"{line}\t{'note' if line.startswith('index') else 'limited'}" for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))
    assert members_of([results])[0].reasons == []
