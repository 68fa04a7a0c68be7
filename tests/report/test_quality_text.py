import pytest

from lodbrain.report.quality_text import quality_of


def test_measures_are_shown_known_or_not() -> None:
    found = quality_of(
        {"confidence": 0.84375, "new_measure": -2.5, "count": 3, "cut": True, "gone": None, "big": 12345.6}
    )
    assert dict(found.measures) == {
        "Mean posterior of the chosen labels": "0.8438",
        "New measure": "\u22122.5",
        "Count": "3",
        "Cut": "yes",
        "Gone": "not known",
        "Big": "12\u202f345.6",
    }
    assert (found.reasons, found.verdict, found.groups) == ([], "", [])


@pytest.mark.parametrize("key", ["reasons", "flags", "warnings", "whatever"])
def test_lists_of_texts_are_reasons(key: str) -> None:
    assert quality_of({key: ["a", {"reason": "b", "value": 1}]}).reasons == ["a", "b"]


def test_lists_of_numbers_are_measures_and_dicts_are_groups() -> None:
    found = quality_of({"sizes": [1, 2.5], "structures": {"Left-Thalamus": 0.9}, "flags": {"cut": "at the top"}})
    assert found.measures == [("Sizes", "1, 2.5")]
    assert [(group.name, group.measures) for group in found.groups] == [("Structures", [("Left-Thalamus", "0.9")])]
    assert found.reasons == ["Cut: at the top"]


def test_a_verdict_is_taken_from_its_usual_names() -> None:
    assert quality_of({"rating": "doubtful", "x": 1}).verdict == "doubtful"
