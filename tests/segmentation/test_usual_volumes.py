import math

import pytest

from lodbrain.labels import STRUCTURES, TISSUES
from lodbrain.segmentation.usual_volumes import USUAL_SD, Reference, reference_of, references


def test_every_structure_and_tissue_has_a_reference_as_share_of_the_brain() -> None:
    names = {label.name for label in (*STRUCTURES, *TISSUES) if label.index}
    assert names <= references().keys()
    assert {references()[name].relative_to for name in names} == {"brain"}
    assert {references()[name].relative_to for name in ("TIV", "brain")} == {"mm3"}
    assert {row.n for row in references().values()} == {20}


def test_the_parts_of_a_usual_brain_make_up_the_brain() -> None:
    shares = [math.exp(references()[label.name].mean_log) for label in STRUCTURES if label.index and label.tissue]
    assert sum(shares) == pytest.approx(1, abs=0.02)  # geometric means: a little less than the whole


def test_left_and_right_are_alike() -> None:
    for label in STRUCTURES:
        if label.side == "left":
            other = references()[label.name.replace("Left", "Right")]
            assert references()[label.name].mean_log == pytest.approx(other.mean_log, abs=0.12), label.name


def test_z_is_in_standard_deviations_of_the_logarithm() -> None:
    row = Reference("x", "brain", math.log(0.01), 0.1, 20)
    assert row.z(0.01 * math.exp(0.25)) == pytest.approx(2.5)
    assert row.z(0.0) == -math.inf
    low, high = row.usual(1e6)
    assert (row.z(low / 1e6), row.z(high / 1e6)) == (pytest.approx(-USUAL_SD), pytest.approx(USUAL_SD))


def test_without_a_brain_there_is_nothing_to_compare_with() -> None:
    assert reference_of("Left-Putamen", {"Left-Putamen": 1.0}) is None
    assert reference_of("Left-Putamen", {"brain": 0.0}) is None
    assert reference_of("Lesion", {"brain": 1e6}) is None
    assert reference_of("TIV", {}) == (references()["TIV"], 1.0)
