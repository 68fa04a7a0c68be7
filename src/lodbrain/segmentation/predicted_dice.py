"""The quality score: the mean tissue Dice that scans with such measures have had, and when a measure alone is alarming.

A fit on synthetic scans made worse by known amounts (`lodbrain evaluate quality`), logistic: it comes near 1 but never
reaches it. Older cards hold a linear one, cut off at the best result it has seen. A model's card may hold the fit of
its own results; the package's is that of the default model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lodbrain.errors import WeightsError

#: What the score is computed from, and whether more of it speaks for a result (1) or against it (-1).
SIGNS = {
    "confidence": 1,
    "least_confidence": 1,
    "border_entropy": -1,
    "moved_share": -1,
    "volume_misfit": -1,
    "asymmetry": -1,
}
FEATURES = tuple(SIGNS)


@dataclass(frozen=True)
class Fit:
    """What measures say of Dice: x = intercept + weighted features, or 1 / (1 + exp(-x)) with the link "logit".

    Attributes
    ----------
    intercept : float
    weights : mapping of str to float
        By feature.
    low, high : float
        The score is held between them: a line knows nothing beyond the Dice of its cases.
    limits : mapping of str to (float, str)
        By feature: where it gets alarming, and what is said then.
    link : {"identity", "logit"}
    """

    intercept: float
    weights: Mapping[str, float]
    low: float = 0.0
    high: float = 1.0
    limits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    link: str = "identity"

    def score(self, measures: Mapping[str, float]) -> float | None:
        """Dice to be expected; None if a feature is missing."""
        if any(name not in measures for name in self.weights):
            return None
        value = self.intercept + sum(weight * measures[name] for name, weight in self.weights.items())
        if self.link == "logit":
            value = (1 + math.tanh(value / 2)) / 2  # 1 / (1 + exp(-value)) without its overflow
        return round(min(self.high, max(self.low, value)), 4)

    def reasons(self, measures: Mapping[str, float]) -> list[str]:
        """A phrase for each measure beyond its limit."""
        out = []
        for name, (limit, words) in self.limits.items():
            value = measures.get(name)
            if value is not None and (value < limit if SIGNS[name] > 0 else value > limit):
                out.append(f"{words} ({name} {value:.3g}, limit {limit:.3g})")
        return out


def read_fit(content: Mapping[str, Any]) -> Fit | None:
    """The fit that a card, or the package, holds; None where there is none.

    Raises
    ------
    WeightsError
        ``"card"`` if it is not what `lodbrain evaluate quality` writes.
    """
    if not content:
        return None
    try:
        fit = Fit(
            float(content["intercept"]),
            {str(name): float(weight) for name, weight in content["weights"].items()},
            *_pair(content.get("range", (0.0, 1.0))),
            {str(name): (float(limit), str(words)) for name, (limit, words) in content.get("limits", {}).items()},
            str(content.get("link", "identity")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError("card", None, f"the model's fit of quality cannot be read ({error!r})") from None
    numbers = (fit.intercept, *fit.weights.values(), *(limit for limit, _ in fit.limits.values()))
    sound = fit.link in ("identity", "logit") and all(map(math.isfinite, numbers)) and 0 <= fit.low <= fit.high <= 1
    if not sound or not fit.weights or not set(fit.weights) | set(fit.limits) <= set(FEATURES):
        raise WeightsError("card", None, "the model's fit of quality is out of range")
    return fit


def _pair(range_: Sequence[float]) -> tuple[float, float]:
    low, high = range_
    return float(low), float(high)
