"""Comparison of the scans of a group: outliers within the group, and values outside of the usual range."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from lodbrain.report.quality_text import quality_of
from lodbrain.report.sidecars import ScanResults
from lodbrain.report.volume_rows import in_words
from lodbrain.segmentation.usual_volumes import reference_of
from lodbrain.segmentation.volume_table import BRAIN, TIV

#: Smallest group whose scans are compared with each other; smaller groups are only compared with the reference.
FEWEST = 8

#: Modified z score beyond which a value is an outlier (Iglewicz and Hoaglin 1993).
FAR = 3.5

#: Standard deviations of the reference beyond which a value is unusual in any group.
FAR_FROM_USUAL = 4.0


@dataclass(frozen=True, eq=False)
class Member:
    """One scan of a group.

    Attributes
    ----------
    z : dict of str to float
        Deviation of each volume from the reference in standard deviations, if there is a reference.
    scores : dict of str to float
        Modified z score of each volume within the group; empty in a small group.
    reasons : list of str
        Reasons to inspect the scan.
    """

    results: ScanResults
    volumes_mm3: dict[str, float]
    z: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def outlying(self) -> float | None:
        """Largest absolute value of the modified z scores."""
        return max(map(abs, self.scores.values()), default=None)


def members_of(group: Sequence[ScanResults]) -> list[Member]:
    """Return the scans of a group, compared with each other and with the reference."""
    members = [_member(results) for results in group]
    names = list(dict.fromkeys(name for member in members for name in member.volumes_mm3))
    if len(members) >= FEWEST:
        for name in names:
            scored = [member for member in members if name in member.volumes_mm3]
            # a volume of 0 counts as a thousandth of a 1 mm voxel
            log_volumes = [math.log(max(member.volumes_mm3[name], 1e-3)) for member in scored]
            for member, score in zip(scored, modified_z(log_volumes), strict=True):
                member.scores[name] = score
    for member in members:
        member.reasons.extend(_reasons(member, names))
    return members


def modified_z(values: Sequence[float]) -> list[float]:
    """Return modified z scores: distances from the median in robust standard deviations.

    If the median absolute deviation is 0, the mean absolute deviation is used; if all values are equal, scores are 0.

    References
    ----------
    Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.

    Examples
    --------
    >>> [round(score, 2) for score in modified_z([1.0, 2.0, 3.0, 4.0, 100.0])]
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    if not values:
        return []
    middle = statistics.median(values)
    away = [abs(value - middle) for value in values]
    # 0.6745 and 0.7979: median and mean absolute deviation of a normal distribution of standard deviation 1
    scale = statistics.median(away) / 0.6745 or statistics.fmean(away) / 0.7979
    return [(value - middle) / scale if scale else 0.0 for value in values]


def _member(results: ScanResults) -> Member:
    volumes_mm3, notes = results.volumes_mm3(), results.volume_notes()
    z = {}
    for name, volume_mm3 in volumes_mm3.items():
        if name not in notes and (found := reference_of(name, volumes_mm3)):
            reference, whole = found
            z[name] = max(-99.0, reference.z(volume_mm3 / whole))  # -inf for a volume of 0
    return Member(results, volumes_mm3, z)


def _reasons(member: Member, names: Sequence[str]) -> list[str]:
    reasons = list(quality_of(member.results.part("quality")).reasons)
    if not member.volumes_mm3:
        return [*reasons, "its table of volumes is missing or broken"]
    missing = [name for name in names if member.volumes_mm3.get(name) == 0]
    if missing:
        reasons.append(f"not found: {_listed(missing)}")
    outliers = [name for name, score in member.scores.items() if abs(score) > FAR and name not in missing]
    if outliers:
        outliers.sort(key=lambda name: -abs(member.scores[name]))
        reasons.append(f"unlike the others: {_listed([_with_size(name, member.scores[name]) for name in outliers])}")
    unusual = [name for name, z in member.z.items() if abs(z) > FAR_FROM_USUAL and name not in (*missing, *outliers)]
    if unusual:
        unusual.sort(key=lambda name: -abs(member.z[name]))
        reasons.append(f"far from usual: {_listed([_with_size(name, member.z[name]) for name in unusual])}")
    return reasons


def _with_size(name: str, score: float) -> str:
    words = {BRAIN: "Brain", TIV: "Intracranial volume"}.get(name) or in_words(name)
    return f"{words} ({'small' if score < 0 else 'large'})"


def _listed(names: Sequence[str], most: int = 4) -> str:
    words = [in_words(name) if "(" not in name else name for name in names]
    text = ", ".join(word[:1].lower() + word[1:] if not word.isupper() else word for word in words[:most])
    return f"{text} and {len(words) - most} more" if len(words) > most else text
