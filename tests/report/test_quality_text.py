from lodbrain.report.quality_text import quality_of


def test_measures_are_shown_known_or_not() -> None:
    found = quality_of({"confidence": 0.84375, "new_measure": -2.5, "count": 3, "gone": None, "big": 12345.6})
    assert dict(found.measures) == {
        "Mean posterior of the assigned labels": "0.8438",
        "New measure": "\u22122.5",
        "Count": "3",
        "Gone": "not known",
        "Big": "12\u202f345.6",
    }
    assert found.reasons == []


def test_reasons_are_no_measure() -> None:
    found = quality_of({"reasons": ["a", "b"], "confidence": 0.5})
    assert (found.reasons, len(found.measures)) == (["a", "b"], 1)
