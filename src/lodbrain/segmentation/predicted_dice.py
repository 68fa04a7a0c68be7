"""Predicted Dice: mean tissue Dice estimated from quality measures, and limits of single measures for QC warnings.

The fit is logistic, on synthetic scans degraded by known amounts (`lodbrain evaluate quality`). Older cards hold a
linear fit, clipped at the best Dice of its cases. A model's card may hold the fit for its own results; the package's
fit is that of the default model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lodbrain.errors import WeightsError

#: Measures that the score is computed from, and whether larger values indicate a better (1) or worse (-1) result.
#: `disagreement` exists for a consensus whose second member was run.
SIGNS = {
    "confidence": 1,
    "least_confidence": 1,
    "border_entropy": -1,
    "moved_share": -1,
    "volume_misfit": -1,
    "asymmetry": -1,
    "disagreement": -1,
}


@dataclass(frozen=True)
class DiceFit:
    """Regression of Dice on measures: x = intercept + weighted features, or 1 / (1 + exp(-x)) with the link "logit".

    Attributes
    ----------
    weights : mapping of str to float
        Weights by feature.
    low, high : float
        The score is clipped to this range, which is the range of Dice in the fitted cases for a linear fit.
    limits : mapping of str to (float, str)
        By feature: limit beyond which a QC warning is given, and its text.
    """

    intercept: float
    weights: Mapping[str, float]
    low: float = 0.0
    high: float = 1.0
    limits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    link: str = "identity"

    def score(self, measures: Mapping[str, float]) -> float | None:
        """Return the predicted Dice; None if a feature is missing."""
        if any(name not in measures for name in self.weights):
            return None
        value = self.intercept + sum(weight * measures[name] for name, weight in self.weights.items())
        if self.link == "logit":
            value = (1 + math.tanh(value / 2)) / 2  # 1 / (1 + exp(-value)) without its overflow
        return round(min(self.high, max(self.low, value)), 4)

    def reasons(self, measures: Mapping[str, float]) -> list[str]:
        """Return a QC warning for each measure beyond its limit."""
        out = []
        for name, (limit, words) in self.limits.items():
            value = measures.get(name)
            if value is not None and (value < limit if SIGNS[name] > 0 else value > limit):
                out.append(f"{words} ({name} {value:.3g}, limit {limit:.3g})")
        return out


def read_fit(content: Mapping[str, Any]) -> DiceFit | None:
    """Return the fit stored in a card or in the package; None if there is none.

    Raises
    ------
    WeightsError
        ``"card"`` if it is not in the form that `lodbrain evaluate quality` writes.
    """
    if not content:
        return None
    try:
        low, high = content.get("range", (0.0, 1.0))
        fit = DiceFit(
            float(content["intercept"]),
            {str(name): float(weight) for name, weight in content["weights"].items()},
            float(low),
            float(high),
            {str(name): (float(limit), str(words)) for name, (limit, words) in content.get("limits", {}).items()},
            str(content.get("link", "identity")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError("card", None, f"the model's fit of quality cannot be read ({error!r})") from None
    numbers = (fit.intercept, *fit.weights.values(), *(limit for limit, _ in fit.limits.values()))
    sound = fit.link in ("identity", "logit") and all(map(math.isfinite, numbers)) and 0 <= fit.low <= fit.high <= 1
    if not sound or not fit.weights or not set(fit.weights) | set(fit.limits) <= set(SIGNS):
        raise WeightsError("card", None, "the model's fit of quality is out of range")
    return fit
