"""Text of a sidecar's quality measures, including unknown measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lodbrain.report.pages import MINUS, number

#: Measures and their descriptions; all others are shown under their keys.
_WORDS = {
    "score": "Dice to be expected",
    "least_confidence": "The same, of the least certain tissue",
    "border_entropy": "Entropy at borders, bits",
    "volume_misfit": "Volumes outside of their ranges, mean log ratio",
    "asymmetry": "Mean difference of left and right",
    "cut_mm2": "Brain at the edges of the scan, mm²",
    "confidence": "Mean posterior of the chosen labels",
    "brain_ml": "Brain, ml",
    "coarse_brain_ml": "Brain as the coarsest level saw it, ml",
    "agreement": "Agreement of the members, Dice of the tissues at 2 mm",
    "disagreement": "Members with different tissues, share of the brain",
    "second_weight": "Weight of the second member",
    "moved_share": "Voxels taken from stray pieces, share of the brain",
}

#: Keys of lists of reasons.
_REASONS = ("reasons", "flags", "warnings", "signs", "issues")
#: Keys of a verdict.
_VERDICTS = ("verdict", "rating", "grade", "overall", "status")

_MOST_DIGITS = 4


@dataclass(frozen=True)
class Group:
    """Measures of one kind, such as those of each structure."""

    name: str
    measures: list[tuple[str, str]]


@dataclass(frozen=True)
class QualityText:
    """Quality as shown on a page.

    Attributes
    ----------
    verdict : str
        One word or line; empty if there is none.
    reasons : list of str
        QC warnings.
    measures : list of (str, str)
        Measures and their values.
    groups : list of Group
        Measures in nested dicts.
    """

    verdict: str = ""
    reasons: list[str] = field(default_factory=list)
    measures: list[tuple[str, str]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def quality_of(content: Mapping[str, object]) -> QualityText:
    """Sort a sidecar's ``quality`` into verdict, reasons, measures and groups of measures.

    Examples
    --------
    >>> shown = quality_of({"confidence": 0.84, "flags": ["the field of view cuts the cerebellum"]})
    >>> shown.reasons, shown.measures
    (['the field of view cuts the cerebellum'], [('Mean posterior of the chosen labels', '0.84')])
    """
    found = QualityText(verdict=next((str(content[key]) for key in _VERDICTS if isinstance(content.get(key), str)), ""))
    for key, value in content.items():
        if key in _VERDICTS and isinstance(value, str):
            continue
        if isinstance(value, (list, tuple)):
            lines = [_line(item) for item in value]
            if key in _REASONS or (lines and all(isinstance(item, (str, Mapping)) for item in value)):
                found.reasons.extend(lines)
            elif lines:
                found.measures.append((_words(key), ", ".join(lines)))
        elif isinstance(value, Mapping):
            if key in _REASONS:
                found.reasons.extend(f"{_words(str(name))}: {_line(item)}" for name, item in value.items())
            elif value:
                found.groups.append(
                    Group(_words(key), [(_words(str(name)), _line(item)) for name, item in value.items()])
                )
        else:
            found.measures.append((_words(key), _line(value)))
    return found


def _words(key: str) -> str:
    words = _WORDS.get(key) or key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _line(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.{_MOST_DIGITS}f}".rstrip("0").rstrip(".") if abs(value) < 1000 else number(value, 1)
        return text.replace("-", MINUS)
    if isinstance(value, Mapping):
        for key in ("text", "reason", "what", "message"):
            if isinstance(value.get(key), str):
                return str(value[key])
        return ", ".join(f"{_words(str(name)).lower()} {_line(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_line, value))
    return "not known" if value is None else str(value)
