"""Volume sections of a report: agreement with the reference, and test-retest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lodbrain.evaluation.score import ScoreRow
from lodbrain.evaluation.statistic_records import MEAN, Statistics
from lodbrain.report.evaluation_figures import Dot, dot_panels, scatter_panels
from lodbrain.report.evaluation_page import (
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


def agreement_section(models: Mapping[str, Sequence[ScoreRow]], found: Statistics, figures: Path) -> Section | None:
    """Return Bland-Altman panels of the tissues (or structures), and a table of all regions."""
    levels = [level for level in ("tissue", "merged") if any(each.place.level == level for each in found.agreement)]
    mine = [each for each in found.agreement if levels and each.place.level == levels[0] and each.place.region != MEAN]
    if not mine:
        return None
    panels: dict[str, dict[str, tuple[list[float], list[float], tuple[float, float, float]]]] = {}
    for each in mine:
        pairs = [
            (row.pred_volume_mm3, row.ref_volume_mm3)
            for row in rows_of(models[each.model], each.place)
            if row.pred_volume_mm3 + row.ref_volume_mm3 > 0
        ]
        across = [(pred + ref) / 2000 for pred, ref in pairs]
        up = [200 * (pred - ref) / (pred + ref) for pred, ref in pairs]
        limits = (each.found.bias_percent, each.found.low_percent, each.found.high_percent)
        panels.setdefault(name_of(each.place), {})[each.model] = (across, up, limits)
    caption = (
        "Bland-Altman: predicted less reference volume in percent of their mean, against that mean. Lines: bias; "
        "dashed: limits within which 95% of differences are expected."
    )
    figure = scatter_panels(
        "bland-altman", caption, panels, figures, series=found.models, x="mean volume, ml", y="difference, %"
    )
    rows = tuple(
        TableRow(
            name_of(each.place),
            (
                Cell(each.model),
                Cell(str(each.found.n)),
                Cell(number(each.found.bias_mm3 / 1000, 2)),
                Cell(f"{number(each.found.low_mm3 / 1000, 2)} to {number(each.found.high_mm3 / 1000, 2)}"),
                Cell(number(each.found.bias_percent, 1)),
                Cell(f"{number(each.found.low_percent, 1)} to {number(each.found.high_percent, 1)}"),
            ),
        )
        for each in found.agreement
        if is_shown(each.place) and each.place.region != MEAN
    )
    headings = ("region", "model", "cases", "bias, ml", "limits, ml", "bias, %", "limits, %")
    table = PageTable("Agreement of volumes with the reference", headings, rows)
    return Section("volumes", "Volumes", figures=(figure,), tables=(table,))


def retest_section(found: Statistics, figures: Path) -> Section | None:
    """Return the variation of volumes of subjects with several scans."""
    mine = [each for each in found.retests if is_shown(each.place) or each.place.level == "structure"]
    merged = {each.place.region for each in mine if each.place.level == "merged"}
    mine = [each for each in mine if each.place.side not in ("left", "right") or each.place.region not in merged]
    if not mine:
        return None
    places = in_order(list(dict.fromkeys(each.place for each in mine)))
    nan = math.nan
    dots = [Dot(name_of(each.place), each.model, each.found.cv_percent, nan, nan) for each in mine]
    caption = "Test-retest: coefficient of variation of the volumes of subjects who were scanned more than once."
    figure = dot_panels(
        "retest",
        caption,
        {"variation within subjects, %": dots},
        figures,
        rows=[name_of(place) for place in places],
        series=found.models,
    )
    rows = tuple(
        TableRow(
            name_of(each.place),
            (
                Cell(each.model),
                Cell(f"{each.found.subjects} / {each.found.scans}"),
                Cell(number(each.found.mean_mm3 / 1000, 2)),
                Cell(number(each.found.cv_percent, 2)),
                Cell(number(each.found.repeatability_mm3 / 1000, 3)),
                Cell(number(each.found.icc, 3)),
            ),
        )
        for each in mine
    )
    headings = ("region", "model", "subjects / scans", "mean, ml", "CV, %", "repeatability, ml", "ICC(1,1)")
    return Section("retest", "Test-retest", figures=(figure,), tables=(PageTable("Test-retest", headings, rows),))
