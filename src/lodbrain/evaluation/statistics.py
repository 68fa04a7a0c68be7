"""Statistics over the cases of one or several models."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lodbrain.evaluation.agreement import BlandAltman, bland_altman, retest
from lodbrain.evaluation.comparison import compare_models, holm
from lodbrain.evaluation.groups import bootstrap_mean, by_subject, compare_groups
from lodbrain.evaluation.participants import subject_of
from lodbrain.evaluation.regions import RegionLevel
from lodbrain.evaluation.score import METRICS, ScoreRow
from lodbrain.evaluation.statistic_records import (
    ALL,
    LEVELS_WITH_MEAN,
    MEAN,
    PLACES,
    GroupMean,
    ModelDifference,
    RegionPlace,
    SeenDifference,
    Statistics,
    VolumeAgreement,
    VolumeRetest,
)

Values: TypeAlias = NDArray[np.float64]

_CSF = "CSF"

_Tested = TypeVar("_Tested", SeenDifference, ModelDifference)


def analyse(
    models: Mapping[str, Sequence[ScoreRow]],
    *,
    groups: Mapping[str, Mapping[str, Collection[str]]] | None = None,
    seen: Collection[str] | None = None,
    seed: int = 0,
) -> Statistics:
    """Compute the statistics over cases, also of groups of cases by column.

    `seen` are the cases of sites that were seen in training; all others are unseen.

    Raises
    ------
    ValueError
        If a model has two rows of one region for one case.
    """
    rng = np.random.default_rng(seed)
    places = _with_means({model: _by_place(model, rows) for model, rows in models.items()})
    columns = {ALL: {ALL: {row.case for rows in models.values() for row in rows}}, **(groups or {})}
    means = [
        GroupMean(model, column, group, place, metric, interval, *_empty(mine))
        for model, found in places.items()
        for place, rows in found.items()
        for column, cases_of in columns.items()
        for group, cases in cases_of.items()
        if (mine := [row for row in rows if row.case in cases])
        for metric in METRICS
        if (interval := bootstrap_mean(_values(mine, metric), rng=rng)).n
    ]
    differences = [
        SeenDifference(model, place, metric, compare_groups(*split, rng=rng), math.nan)
        for model, found in places.items()
        for place, rows in found.items()
        for metric in METRICS
        if seen is not None and (split := _split(rows, metric, seen))
    ]
    comparisons = [
        ModelDifference(place, metric, found, math.nan)
        for place in PLACES
        for metric in METRICS
        for found in compare_models(_common(places, place, metric), rng=rng, more_is_better=METRICS[metric])
        if found.difference.n
    ]
    scored = [(model, place, rows) for model, found in places.items() for place, rows in found.items()]
    return Statistics(
        tuple(models),
        tuple(means),
        tuple(_adjusted(differences)),
        tuple(_adjusted(comparisons)),
        tuple(
            VolumeAgreement(model, place, found)
            for model, place, rows in scored
            if (found := _bland_altman(rows)).n > 1
        ),
        tuple(
            VolumeRetest(model, place, repeated)
            for model, place, rows in scored
            if place.region != MEAN and (repeated := retest(_volumes(rows))) is not None
        ),
        tuple(_notes(models)),
    )


def _by_place(model: str, rows: Sequence[ScoreRow]) -> dict[RegionPlace, dict[str, ScoreRow]]:
    """Return rows by region and case, in the order of tables."""
    found: dict[RegionPlace, dict[str, ScoreRow]] = {}
    for row in rows:
        place = RegionPlace(row.level, row.region, row.side)
        if row.case in found.setdefault(place, {}):
            raise ValueError(f"{model} has two results for {row.side} {row.region} of {row.case}")
        found[place][row.case] = row
    return {place: found[place] for place in PLACES if place in found}


def _averaged(place: RegionPlace, level: str) -> bool:
    """Return whether a region counts for the mean of a level.

    Each structure counts once. CSF does not count, because its definition differs most between protocols.
    """
    if place.region.startswith(_CSF):
        return False
    return place.level == level or (level == "merged" and place.level == "structure" and place.side == "midline")


def _with_means(
    models: Mapping[str, Mapping[RegionPlace, Mapping[str, ScoreRow]]],
) -> dict[str, dict[RegionPlace, list[ScoreRow]]]:
    """Return rows by region, with the mean of each level over the regions that all models of that level have."""
    complete: dict[str, dict[RegionPlace, list[ScoreRow]]] = {model: {} for model in models}
    for level in LEVELS_WITH_MEAN:
        having = {model: rows for model, rows in models.items() if any(place.level == level for place in rows)}
        common = [place for place in PLACES if _averaged(place, level) and all(place in r for r in having.values())]
        for model, rows in having.items():
            cases = dict.fromkeys(case for place in common for case in rows[place])
            complete[model][RegionPlace(level, MEAN, "both")] = [
                _mean_row([rows[place][case] for place in common if case in rows[place]], level) for case in cases
            ]
    for model, rows in models.items():
        complete[model] |= {place: list(of_case.values()) for place, of_case in rows.items()}
    return {model: {place: found[place] for place in PLACES if found.get(place)} for model, found in complete.items()}


def _mean_row(parts: Sequence[ScoreRow], level: RegionLevel) -> ScoreRow:
    """Return the mean of each metric over the regions of a case in which it is defined; volumes have no mean."""
    averaged: dict[str, Any] = {}
    for metric in METRICS:
        values = [value for row in parts if not math.isnan(value := float(getattr(row, metric)))]
        averaged[metric] = float(np.mean(values)) if values else math.nan
    blank = replace(parts[0], level=level, region=MEAN, side="both", status="both", pred_volume_mm3=math.nan)
    return replace(blank, ref_volume_mm3=math.nan, **averaged)


def _values(rows: Sequence[ScoreRow], metric: str) -> Values:
    return np.array(list(by_subject(rows, metric).values()), dtype=np.float64)


def _empty(rows: Sequence[ScoreRow]) -> tuple[int, int]:
    return sum(row.status == "missed" for row in rows), sum(row.status == "invented" for row in rows)


def _split(rows: Sequence[ScoreRow], metric: str, seen: Collection[str]) -> tuple[Values, Values] | None:
    one = _values([row for row in rows if row.case in seen], metric)
    other = _values([row for row in rows if row.case not in seen], metric)
    return (one, other) if len(one) and len(other) else None


def _common(
    places: Mapping[str, Mapping[RegionPlace, Sequence[ScoreRow]]], place: RegionPlace, metric: str
) -> dict[str, dict[str, float]]:
    return {model: by_subject(found[place], metric) for model, found in places.items() if place in found}


def _adjusted(found: Sequence[_Tested]) -> Iterator[_Tested]:
    """Apply Holm's correction to the records; a family is all tests of one metric at one level."""
    families: dict[tuple[str, str, bool], list[int]] = {}
    for number, each in enumerate(found):
        families.setdefault((each.place.level, each.metric, each.place.region == MEAN), []).append(number)
    adjusted = {
        number: float(p)
        for numbers in families.values()
        for number, p in zip(numbers, holm([found[number].found.p for number in numbers]), strict=True)
    }
    return (replace(each, p_holm=adjusted[number]) for number, each in enumerate(found))


def _bland_altman(rows: Sequence[ScoreRow]) -> BlandAltman:
    pred = np.array([row.pred_volume_mm3 for row in rows])
    return bland_altman(pred, np.array([row.ref_volume_mm3 for row in rows]))


def _volumes(rows: Sequence[ScoreRow]) -> dict[str, list[float]]:
    volumes: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(row.pred_volume_mm3):
            volumes.setdefault(subject_of(row.case), []).append(row.pred_volume_mm3)
    return volumes


def _notes(models: Mapping[str, Sequence[ScoreRow]]) -> Iterator[str]:
    cases = {model: {row.case for row in rows} for model, rows in models.items()}
    common = set.intersection(*cases.values())
    if any(mine != common for mine in cases.values()):
        counts = ", ".join(f"{model} {len(mine)}" for model, mine in cases.items())
        yield f"Not every model has every case ({counts}); {len(common)} are compared in pairs."
    subjects = len({subject_of(case) for case in common})
    if len(models) > 1 and 0 < subjects < 6:
        yield f"With {subjects} subjects Wilcoxon's test cannot fall below 0.05, whatever the difference."
    elif len(models) > 1 and subjects:
        yield f"With {subjects} subjects the smallest p of Wilcoxon's test is {2 / 2**subjects:.2g}, before correction."
