"""Text of a sidecar's quality: QC warnings, and measures in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lodbrain.report.pages import MINUS, number

#: Measures and their descriptions; all others are shown under their keys.
_WORDS = {
    "score": "Predicted Dice",
    "least_confidence": "The same, of the least certain tissue",
    "border_entropy": "Entropy at boundaries, bits",
    "volume_misfit": "Volumes outside their ranges, mean log ratio",
    "asymmetry": "Mean difference of left and right",
    "cut_mm2": "Brain at the edges of the scan, mm²",
    "confidence": "Mean posterior of the assigned labels",
    "brain_ml": "Brain, ml",
    "coarse_brain_ml": "Brain, coarsest level, ml",
    "agreement": "Agreement of the members, Dice of the tissues at 2 mm",
    "disagreement": "Members with different tissues, share of the brain",
    "second_weight": "Weight of the second member",
    "moved_share": "Relabelled voxels of small components, share of the brain",
}

_MOST_DIGITS = 4


@dataclass(frozen=True)
class QualityText:
    """Quality as shown on a page: QC warnings, and measures with their values."""

    reasons: list[str]
    measures: list[tuple[str, str]]


def quality_of(content: Mapping[str, object]) -> QualityText:
    """Return the QC warnings of a sidecar's ``quality``, and its measures, known or not, as text.

    Examples
    --------
    >>> shown = quality_of({"confidence": 0.84, "reasons": ["the field of view cuts the cerebellum"]})
    >>> shown.reasons, shown.measures
    (['the field of view cuts the cerebellum'], [('Mean posterior of the assigned labels', '0.84')])
    """
    reasons = content.get("reasons")
    return QualityText(
        reasons=[str(reason) for reason in reasons] if isinstance(reasons, list) else [],
        measures=[(_words(key), _value(value)) for key, value in content.items() if key != "reasons"],
    )


def _words(key: str) -> str:
    words = _WORDS.get(key) or key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _value(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:.{_MOST_DIGITS}f}".rstrip("0").rstrip(".") if abs(value) < 1000 else number(value, 1)
        return text.replace("-", MINUS)
    return "not known" if value is None else str(value)
