"""Who the cases are, and how they are grouped."""

from pathlib import Path

import pytest

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.participants import Participants, group_cases, read_participants, subject_of

TABLE = """participant_id\tsite\tage\tfield
sub-1\tA\t20\t3
sub-2\tB\t35\t3
3\tA\t50\t7
sub-4\tn/a\t65\t7
sub-5\tB\t80\t7
sub-6\tB\tn/a\t7
"""
CASES = [f"sub-{n}_ses-1" for n in range(1, 8)]


@pytest.fixture
def people(tmp_path: Path) -> Participants:
    (tmp_path / "participants.tsv").write_text(TABLE)
    return read_participants(tmp_path)


def test_cases_find_their_subject_with_or_without_prefix(people: Participants) -> None:
    assert people.of("sub-1_ses-1")["site"] == "A"
    assert people.of("2")["site"] == "B"
    assert people.of("sub-3")["age"] == "50"
    assert people.of("sub-7") == {}


def test_subjects_are_told_from_names() -> None:
    assert [subject_of(case) for case in ("sub-01_ses-1", "x_y", "a_run-2")] == ["sub-01", "x_y", "a"]


def test_words_make_a_group_each_and_what_is_unknown_is_left_out(people: Participants) -> None:
    assert group_cases(CASES, people, "site") == {
        "A": ["sub-1_ses-1", "sub-3_ses-1"],
        "B": ["sub-2_ses-1", "sub-5_ses-1", "sub-6_ses-1"],
    }


def test_few_numbers_are_kept_and_many_are_cut(people: Participants) -> None:
    assert {name: len(cases) for name, cases in group_cases(CASES, people, "field").items()} == {"3": 2, "7": 4}
    assert {name: len(cases) for name, cases in group_cases(CASES, people, "age").items()} == {
        "< 40": 2,
        "40 to < 60": 1,
        "≥ 60": 2,
    }


def test_cuts_are_where_they_are_asked_for(people: Participants) -> None:
    assert group_cases(CASES, people, "age", cuts=[50]) == {"< 50": CASES[:2], "≥ 50": CASES[2:5]}


def test_mistakes_are_named(people: Participants, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no column 'scanner'\. There are: site, age, field"):
        group_cases(CASES, people, "scanner")
    with pytest.raises(UsageError, match="'site' does not hold numbers"):
        group_cases(CASES, people, "site", cuts=[1])
    (tmp_path / "other.tsv").write_text("id\tage\n")
    with pytest.raises(InputError, match="no column participant_id"):
        read_participants(tmp_path / "other.tsv")


@pytest.mark.parametrize("scale", [0.001, 0.01, 1, 1e6])
def test_thirds_do_not_depend_on_the_unit_of_a_column(scale: float, tmp_path: Path) -> None:
    cases = [f"sub-{n}" for n in range(1, 10)]
    lines = [f"sub-{n}\t{n * scale:.6g}" for n in range(1, 10)]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tscore", *lines]))
    groups = group_cases(cases, read_participants(tmp_path), "score")
    assert list(groups.values()) == [cases[:3], cases[3:6], cases[6:]]
