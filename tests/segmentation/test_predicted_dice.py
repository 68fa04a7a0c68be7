from typing import Any

import pytest

from lodbrain.errors import WeightsError
from lodbrain.segmentation.predicted_dice import SIGNS, DiceFit, read_fit

CONTENT: dict[str, Any] = {
    "intercept": -0.2,
    "weights": dict.fromkeys(SIGNS, 0.5),
    "range": [0.4, 0.9],
    "limits": {"confidence": [0.8, "low confidence over the brain"]},
}


def test_score_is_the_weighted_sum_within_what_was_seen() -> None:
    fit = DiceFit(0.1, {"confidence": 1.0, "asymmetry": -2.0}, 0.2, 0.95)
    assert fit.score({"confidence": 0.9, "asymmetry": 0.1}) == pytest.approx(0.8)
    assert fit.score({"confidence": 9.0, "asymmetry": 0.1}) == 0.95
    assert fit.score({"confidence": 0.0, "asymmetry": 1.0}) == 0.2
    assert fit.score({"confidence": 0.9}) is None


def test_logistic_score_does_not_saturate_below_1() -> None:
    fit = DiceFit(0.0, {"confidence": 4.0}, link="logit")
    assert fit.score({"confidence": 0.0}) == 0.5
    scores = [fit.score({"confidence": value}) for value in (0.8, 0.9, 1.0)]
    assert scores == pytest.approx([0.9608, 0.9734, 0.982], abs=1e-4)
    assert fit.score({"confidence": -1e6}) == 0


def test_limits_look_the_way_their_feature_points() -> None:
    fit = DiceFit(0.0, {}, limits={"confidence": (0.8, "unsure"), "moved_share": (0.01, "in pieces")})
    assert fit.reasons({"confidence": 0.7, "moved_share": 0.02}) == [
        "unsure (confidence 0.7, limit 0.8)",
        "in pieces (moved_share 0.02, limit 0.01)",
    ]
    assert fit.reasons({"confidence": 0.9, "moved_share": 0.0}) == []
    assert fit.reasons({}) == []


def test_what_a_card_holds_is_read() -> None:
    fit = read_fit(CONTENT)
    assert fit == DiceFit(-0.2, CONTENT["weights"], 0.4, 0.9, {"confidence": (0.8, "low confidence over the brain")})
    assert read_fit({}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"intercept": "much"},
        {"intercept": float("nan")},
        {"weights": {}},
        {"weights": {"beauty": 1.0}},
        {"weights": 3},
        {"range": [0.9, 0.4]},
        {"link": "probit"},
        {"range": [0.4, 0.9, 1.0]},
        {"limits": {"beauty": [0.8, "ugly"]}},
        {"limits": {"confidence": 0.8}},
    ],
)
def test_damaged_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="fit of quality"):
        read_fit({**CONTENT, **change})
