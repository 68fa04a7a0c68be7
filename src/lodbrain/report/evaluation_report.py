"""Assembly of an evaluation's figures, tables and page from the statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lodbrain.evaluation.comparison import Comparison
from lodbrain.evaluation.groups import Interval, by_subject
from lodbrain.evaluation.score import METRICS, ScoreRow
from lodbrain.evaluation.statistic_records import ALL, MEAN, GroupMean, ModelDifference, RegionPlace, Statistics
from lodbrain.report.evaluation_figures import Dot, DrawnFigure, dot_panels
from lodbrain.report.evaluation_page import (
    DASH,
    LABELS,
    MEAN_NAMES,
    Cell,
    PageTable,
    Section,
    TableRow,
    in_order,
    is_shown,
    name_of,
    number,
    rows_of,
)
from lodbrain.report.evaluation_volumes import agreement_section, retest_section
from lodbrain.report.pages import MINUS

#: Metrics in the figure of all regions, side by side.
_SHOWN = ("dice", "nsd_1mm", "hd95_mm")

_ALPHA = 0.05


def build_sections(models: Mapping[str, Sequence[ScoreRow]], found: Statistics, figures: Path) -> list[Section]:
    """Draw the figures that the statistics of models allow, and return them with their tables as sections."""
    sections = [
        _regions(models, found, figures),
        _comparison(found, figures),
        *_groups(found, figures),
        _seen(found),
        agreement_section(models, found, figures),
        retest_section(found, figures),
    ]
    return [section for section in sections if section is not None]


def _region_figure(
    name: str,
    caption: str,
    dots: Callable[[str], list[Dot]],
    places: Sequence[RegionPlace],
    figures: Path,
    **options: Any,
) -> DrawnFigure:
    """Draw the dots of each shown metric, with a row for each region and a line above the tissues."""
    tissues = [name_of(place) for place in places if place.level == "tissue"]
    suffix = ", difference" if options.get("zero") else ""
    panels = {LABELS[metric] + suffix: mine for metric in _SHOWN if (mine := dots(metric))}
    rows = [name_of(place) for place in places]
    return dot_panels(name, caption, panels, figures, rows=rows, rules=tissues[:1], **options)


def _regions(models: Mapping[str, Sequence[ScoreRow]], found: Statistics, figures: Path) -> Section | None:
    overall = [each for each in found.means if each.column == ALL and is_shown(each.place)]
    places = in_order(list(dict.fromkeys(each.place for each in overall)))
    if not places:
        return None

    def dots(metric: str) -> list[Dot]:
        return [
            _dot(
                name_of(each.place),
                each.model,
                each.interval,
                by_subject(rows_of(models[each.model], each.place), metric).values(),
            )
            for each in overall
            if each.metric == metric
        ]

    caption = (
        "Mean over subjects with its 95% bootstrap interval; small dots are single subjects. Both sides of a structure "
        "are scored as one."
    )
    figure = _region_figure("regions", caption, dots, places, figures, series=found.models)
    return Section("regions", "Regions", figures=(figure,), tables=tuple(_means_tables(found, overall, places)))


def _means_tables(found: Statistics, overall: Sequence[GroupMean], places: Sequence[RegionPlace]) -> list[PageTable]:
    tables = []
    for model in found.models:
        cells = {(each.place, each.metric): each for each in overall if each.model == model}
        metrics = [metric for metric in METRICS if any(key[1] == metric for key in cells)]
        rows = []
        for place in places:
            mine = [each for (where, _), each in cells.items() if where == place]
            if mine:
                values = [
                    _interval_cell(cells[place, m].interval, 2 if m.endswith("_mm") else 3)
                    if (place, m) in cells
                    else Cell(DASH)
                    for m in metrics
                ]
                counts = [Cell(str(max(each.interval.n for each in mine)))]
                counts += [Cell(str(mine[0].missed or "")), Cell(str(mine[0].invented or ""))]
                rows.append(TableRow(name_of(place), (*values, *counts), place.region == MEAN))
        headings = ("region", *(LABELS[m] for m in metrics), "subjects", "false negatives", "false positives")
        tables.append(PageTable(f"{model}: mean (95% interval)", headings, tuple(rows)))
    return tables


def _comparison(found: Statistics, figures: Path) -> Section | None:
    """Return the section of differences between each model and the first one."""
    first = found.models[0]
    mine = [each for each in found.comparisons if is_shown(each.place) and first in (each.found.one, each.found.other)]
    if len(found.models) < 2 or not mine:
        return None
    places = in_order(list(dict.fromkeys(each.place for each in mine)))

    def dots(metric: str) -> list[Dot]:
        return [
            Dot(
                name_of(each.place),
                each.found.other,
                -each.found.difference.mean,
                -each.found.difference.high,
                -each.found.difference.low,
                filled=each.p_holm < _ALPHA,
            )
            for each in mine
            if each.metric == metric
        ]

    caption = (
        f"Other models less {first} on the same subjects: mean difference with its 95% bootstrap interval. Filled: "
        "Wilcoxon's signed-rank test is below 0.05 after Holm's correction over the regions and models of the panel. "
        "More is better for Dice and NSD, less for HD95."
    )
    figure = _region_figure(
        "comparison", caption, dots, places, figures, series=found.models, zero=True, hidden=(first,)
    )
    columns = (heading for metric in ("dice", "nsd_1mm") for heading in (LABELS[metric], "wins", "p (Holm)"))
    headings = ("region", "models", *columns)
    rows = []
    for place in places:
        pairs = dict.fromkeys((e.found.one, e.found.other) for e in found.comparisons if e.place == place)
        for one, other in pairs:
            cells = [Cell(f"{other} {MINUS} {one}")]
            for metric in ("dice", "nsd_1mm"):
                cells += _difference_cells(found.comparisons, place, metric, one, other)
            rows.append(TableRow(name_of(place), tuple(cells), place.region == MEAN))
    table = PageTable("Paired differences; wins: subjects on whom the first-named is better", headings, tuple(rows))
    return Section("comparison", "Models in pairs", figures=(figure,), tables=(table,))


def _difference_cells(
    found: Sequence[ModelDifference], place: RegionPlace, metric: str, one: str, other: str
) -> tuple[Cell, ...]:
    for each in found:
        if (each.place, each.metric, each.found.one, each.found.other) == (place, metric, one, other):
            pair: Comparison = each.found
            mean = pair.difference
            turned = Interval(-mean.mean, -mean.high, -mean.low, mean.n)
            return (_interval_cell(turned, 3), Cell(f"{pair.losses} of {mean.n}"), Cell(_p(each.p_holm)))
    return (Cell(DASH), Cell(DASH), Cell(DASH))


def _groups(found: Statistics, figures: Path) -> list[Section]:
    sections = []
    for column in dict.fromkeys(each.column for each in found.means if each.column != ALL):
        mine = [each for each in found.means if each.column == column]
        groups = list(dict.fromkeys(each.group for each in mine))
        level = next((v for v in ("tissue", "merged", "brain") if any(e.place.level == v for e in mine)), None)
        if level is None:
            continue
        summed = [e for e in mine if e.place.level == level and (e.place.region == MEAN or level == "brain")]
        counts = {g: max((e.interval.n for e in summed if e.group == g), default=0) for g in groups}
        rows = [f"{group} (n = {counts[group]})" for group in groups]
        panels = {
            LABELS[metric]: [
                _dot(rows[groups.index(e.group)], e.model, e.interval) for e in summed if e.metric == metric
            ]
            for metric in _SHOWN
        }
        caption = (
            f"{MEAN_NAMES.get(level, 'brain').capitalize()} by {column}, with 95% bootstrap intervals over subjects."
        )
        name = "by-" + (re.sub(r"[^a-z0-9]+", "-", column.lower()).strip("-") or "column")
        figure = dot_panels(
            name, caption, {k: v for k, v in panels.items() if v}, figures, rows=rows, series=found.models
        )
        sections.append(Section(name, f"By {column}", figures=(figure,)))
    return sections


def _seen(found: Statistics) -> Section | None:
    rows = []
    for each in found.seen:
        if each.metric == "dice" and is_shown(each.place):
            model = Cell(each.model)
            cells = (model, _interval_cell(each.found.difference, 3), Cell(_p(each.found.p)), Cell(_p(each.p_holm)))
            rows.append(TableRow(name_of(each.place), cells, each.place.region == MEAN))
    if not rows:
        return None
    table = PageTable("Dice on seen less unseen sites", ("region", "model", "difference", "p", "p (Holm)"), tuple(rows))
    text = "A positive difference is what a model loses on sites that it was not trained on (Mann-Whitney test)."
    return Section("seen", "Seen and unseen sites", text, tables=(table,))


def _dot(row: str, series: str, interval: Interval, single: Iterable[float] = ()) -> Dot:
    return Dot(row, series, interval.mean, interval.low, interval.high, tuple(single))


def _interval_cell(interval: Interval, digits: int) -> Cell:
    if math.isnan(interval.low):
        return Cell(number(interval.mean, digits))
    return Cell(number(interval.mean, digits), f"({number(interval.low, digits)} to {number(interval.high, digits)})")


def _p(p: float) -> str:
    return DASH if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
