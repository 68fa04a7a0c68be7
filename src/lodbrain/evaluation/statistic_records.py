"""Records of the statistics over cases, as used by tables and figures.

`p_holm` is a p value adjusted by Holm's method (`lodbrain.evaluation.comparison.holm`).
"""

from __future__ import annotations

from dataclasses import dataclass

from lodbrain.evaluation.agreement import BlandAltman, Retest
from lodbrain.evaluation.comparison import Comparison
from lodbrain.evaluation.groups import Difference, Interval
from lodbrain.evaluation.regions import INTRACRANIAL, LEVELS, REGIONS, RegionLevel

#: Name of the mean over a level's regions, and of the group of all cases.
MEAN, ALL = "mean", "all"

LEVELS_WITH_MEAN: tuple[RegionLevel, ...] = ("structure", "merged", "tissue")


@dataclass(frozen=True, order=True)
class RegionPlace:
    """A region of one level and side."""

    level: str
    region: str
    side: str


#: Every region in the order of tables, with the mean of a level after its regions.
PLACES: tuple[RegionPlace, ...] = tuple(
    place
    for level in LEVELS
    for place in (
        *(RegionPlace(level, region.name, region.side) for region in (*REGIONS, INTRACRANIAL) if region.level == level),
        *([RegionPlace(level, MEAN, "both")] if level in LEVELS_WITH_MEAN else []),
    )
)


@dataclass(frozen=True)
class GroupMean:
    """Mean of a metric over the subjects of a group: those with the value `group` in a `column`, or ``"all"`` for both.

    `missed` and `invented` are the numbers of cases with the region in the reference only (false negatives), and in the
    prediction only (false positives).
    """

    model: str
    column: str
    group: str
    place: RegionPlace
    metric: str
    interval: Interval
    missed: int
    invented: int


@dataclass(frozen=True)
class SeenDifference:
    """Mean over sites seen in training minus mean over unseen sites."""

    model: str
    place: RegionPlace
    metric: str
    found: Difference
    p_holm: float


@dataclass(frozen=True)
class ModelDifference:
    """Comparison of two models on the same cases."""

    place: RegionPlace
    metric: str
    found: Comparison
    p_holm: float


@dataclass(frozen=True)
class VolumeAgreement:
    """Agreement of predicted and reference volumes."""

    model: str
    place: RegionPlace
    found: BlandAltman


@dataclass(frozen=True)
class VolumeRetest:
    """Repeatability of predicted volumes of subjects scanned more than once."""

    model: str
    place: RegionPlace
    found: Retest


@dataclass(frozen=True, eq=False)
class Statistics:
    """All statistics of one or several models."""

    models: tuple[str, ...]
    means: tuple[GroupMean, ...]
    seen: tuple[SeenDifference, ...]
    comparisons: tuple[ModelDifference, ...]
    agreement: tuple[VolumeAgreement, ...]
    retests: tuple[VolumeRetest, ...]
    notes: tuple[str, ...]
