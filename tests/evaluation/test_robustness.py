from dataclasses import astuple, replace
from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.evaluation.robustness import COLUMNS, MEAN, Stress, StressStep, break_down, read_steps
from lodbrain.system.records import write_tsv

NAN = float("nan")


@pytest.mark.parametrize(
    ("strengths", "dice", "at"),
    [
        ([0, 1, 2], [0.9, 0.8, 0.6], 1.5),
        ([0, 1, 2], [0.9, 0.6, 0.9], 2 / 3),  # the first time counts
        ([0, 1], [0.6, 0.5], 0.0),
        ([0, 1], [0.9, 0.7], None),  # not below
        ([0, 1, 2], [0.9, NAN, 0.5], 1.0),
        ([0], [0.9], None),
        ([], [], None),
    ],
)
def test_break_down_is_where_the_curve_first_falls_below(
    strengths: list[float], dice: list[float], at: float | None
) -> None:
    assert break_down(strengths, dice, threshold=0.7) == (at if at is None else pytest.approx(at, abs=1e-6))


def test_strengths_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="strengths must rise"):
        break_down([0, 2, 1], [1, 1, 1], threshold=0.7)


STEPS = tuple(
    StressStep(scan, method, kind, strength, MEAN, "mean", dice, 0.8)
    for scan, method, kind, strength, dice in [
        ("a", "m", "", 0.0, 0.9),
        ("b", "m", "", 0.0, 0.7),
        ("a", "m", "noise", 0.1, 0.6),
        ("b", "m", "noise", 0.1, 0.4),
        ("a", "m", "motion", 2.0, 0.1),
        ("a", "other", "noise", 0.1, 0.2),
        ("a", "m", "noise", 0.2, NAN),
    ]
)


def test_curve_is_the_mean_over_scans_from_the_undisturbed_on() -> None:
    strengths, dice = Stress(STEPS, "x").curve("m", "noise", MEAN)
    assert strengths == [0.0, 0.1, 0.2]
    assert dice[:2] == pytest.approx([0.8, 0.5])
    assert dice[2] != dice[2]
    assert Stress(STEPS, "x").methods == ("m", "other")


def test_exit_status_says_whether_scans_were_left_out() -> None:
    problem = (InputError("x", "y", "z"),)
    assert [Stress(*each).exit_code for each in ((STEPS, "x"), (STEPS, "x", problem), ((), "x", problem))] == [0, 3, 4]


def test_steps_come_back_from_their_file(tmp_path: Path) -> None:
    steps = [replace(step, score=NAN if step.degradation else 0.5) for step in STEPS[:6]]
    write_tsv(tmp_path / "stress.tsv", COLUMNS, map(astuple, steps))
    assert [str(step) for step in read_steps(tmp_path / "stress.tsv")] == [str(step) for step in steps]
    assert read_steps(tmp_path / "none.tsv") == []


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stress.tsv").write_text("scan\tmethod\na\tb\n")
    with pytest.raises(InputError, match="damaged"):
        read_steps(tmp_path / "stress.tsv")
