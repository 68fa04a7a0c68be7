"""Names and order of regions and metrics in a report."""

from __future__ import annotations

from collections.abc import Sequence

from lodbrain.evaluation.score import ScoreRow
from lodbrain.evaluation.statistic_records import MEAN, RegionPlace

LABELS = {
    "dice": "Dice",
    "volume_similarity": "Volume similarity",
    "hd95_mm": "HD95, mm",
    "assd_mm": "ASSD, mm",
    "nsd_1vox": "NSD at 1 voxel",
    "nsd_1mm": "NSD at 1 mm",
}

#: Names of the means over a level.
MEAN_NAMES = {"structure": "mean of single structures", "merged": "mean of structures", "tissue": "mean of tissues"}


def name_of(place: RegionPlace) -> str:
    """Return a region's name in a report.

    Examples
    --------
    >>> name_of(RegionPlace("structure", "Thalamus", "left")), name_of(RegionPlace("tissue", "mean", "both"))
    ('left Thalamus', 'mean of tissues')
    """
    if place.region == MEAN:
        return MEAN_NAMES[place.level]
    named = place.region if place.side not in ("left", "right") else f"{place.side} {place.region}"
    return f"{named} (tissue)" if place.level == "tissue" and place.region == "Brain-Stem" else named


def is_shown(place: RegionPlace) -> bool:
    """Return whether a region is shown: each structure once, both sides together if it has two."""
    return place.side not in ("left", "right") and not (place.level == "structure" and place.region == MEAN)


def rows_of(rows: Sequence[ScoreRow], place: RegionPlace) -> list[ScoreRow]:
    """Return the rows of one region."""
    return [row for row in rows if (row.level, row.region, row.side) == (place.level, place.region, place.side)]


def in_order(places: Sequence[RegionPlace]) -> list[RegionPlace]:
    """Sort structures before tissues, and midline structures among the paired ones."""
    last = {"structure": 0, "merged": 0, "tissue": 1, "brain": 2}
    return sorted(places, key=lambda place: (last[place.level], place.region == MEAN))
