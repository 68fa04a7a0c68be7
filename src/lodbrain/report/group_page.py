"""HTML page of a group: scans to inspect first, distributions, and a table with links to the scans' pages."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lodbrain.report.group_outliers import FAR, FAR_FROM_USUAL, FEWEST, Member, members_of
from lodbrain.report.pages import number, render
from lodbrain.report.scan_page import Fact
from lodbrain.report.sidecars import ScanResults
from lodbrain.report.volume_rows import STRIP_SD, in_words
from lodbrain.segmentation.usual_volumes import SOURCE, USUAL_SD
from lodbrain.segmentation.volume_table import BRAIN, TIV
from lodbrain.system.atomic import write_text

NAME = "index.html"

#: In larger groups, only scans beyond the whiskers are drawn as dots.
MOST_DOTS = 60

#: Largest number of scans in the list at the top.
MOST_OUTLIERS = 25

NOT_KNOWN = "\u2013"


def write_group_page(folder: Path, group: Sequence[ScanResults], *, broken: Sequence[str] = ()) -> Path:
    """Write the page of all scans of a folder, ``index.html``, and return its path.

    Links to the scans' pages are relative to the folder. `broken` is one line for each result that could not be read.
    """
    write_text(folder / NAME, group_page(folder, group, broken=broken))
    return folder / NAME


def group_page(folder: Path, group: Sequence[ScanResults], *, broken: Sequence[str] = ()) -> str:
    """Return the page as HTML; parameters as in `write_group_page`."""
    members = members_of(group)
    links = [_link(folder, member.results) for member in members]
    outliers = sorted(
        (found for found in zip(members, links, strict=True) if found[0].reasons),
        key=lambda found: (-len(found[0].reasons), -(found[0].outlying or 0)),
    )
    compared = (
        f"further than {FAR} robust standard deviations from the median of all scans, or "
        if len(members) >= FEWEST
        else ""
    )
    return render(
        "group.html",
        scripts=("group.js",),
        title=folder.resolve().name or "Results",
        subtitle=_subtitle(members),
        facts=_facts(members),
        broken=list(broken),
        outliers=[
            {"name": _name(folder, member), "href": link, "why": "; ".join(member.reasons)}
            for member, link in outliers[:MOST_OUTLIERS]
        ],
        more_outliers=max(0, len(outliers) - MOST_OUTLIERS),
        rule=f"Listed are scans with a QC warning, without a structure, or with a volume {compared}further than "
        f"{FAR_FROM_USUAL:.0f} standard deviations from the usual value. Inspect them; they may still be correct.",
        spreads=_spreads(folder, members, links),
        hidden_dots=len(members) > MOST_DOTS,
        reference=SOURCE,
        columns=[{"name": "Scan", "numeric": False}, *_COLUMNS],
        scans=[
            {"name": _name(folder, member), "href": link, "cells": [column.cell(member) for column in _COLUMNS]}
            for member, link in zip(members, links, strict=True)
        ],
    )


@dataclass(frozen=True)
class _Column:
    """A column of the table of scans: its heading, the source of its values, and their decimals or None for texts."""

    name: str
    value: Callable[[Member], object]
    digits: int | None = 0

    @property
    def numeric(self) -> bool:
        return self.digits is not None

    def cell(self, member: Member) -> dict[str, object]:
        value = self.value(member)
        if self.digits is None:
            return {"text": str(value or ""), "sort": str(value or ""), "numeric": False}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"text": number(float(value), self.digits), "sort": f"{float(value):.6g}", "numeric": True}
        return {"text": NOT_KNOWN, "sort": "", "numeric": True}


def _ml(member: Member, name: str) -> float | None:
    return member.volumes_mm3[name] / 1000 if name in member.volumes_mm3 else None


_COLUMNS = (
    _Column("Brain, ml", lambda member: _ml(member, BRAIN)),
    _Column("TIV, ml", lambda member: _ml(member, TIV)),
    _Column("Predicted Dice", lambda member: member.results.part("quality").get("score"), 3),
    _Column("Mean posterior", lambda member: member.results.part("quality").get("confidence"), 3),
    _Column("Unusual volumes", lambda member: sum(abs(z) > USUAL_SD for z in member.z.values()) if member.z else None),
    _Column("Outlying", lambda member: member.outlying, 1),
    _Column("Notes", lambda member: len(member.results.lines("notes"))),
    _Column("Seconds", lambda member: member.results.part("execution", "seconds").get("total"), 1),
    _Column("Model", lambda member: member.results.part("model").get("name"), None),
)


def _facts(members: Sequence[Member]) -> list[Fact]:
    facts = [Fact("Scans", str(len(members)))]
    for key, name in ((BRAIN, "Brain, median"), (TIV, "Intracranial, median")):
        if values := [member.volumes_mm3[key] for member in members if key in member.volumes_mm3]:
            facts.append(Fact(name, number(statistics.median(values) / 1000, 0), "ml"))
    odd = sum(bool(member.reasons) for member in members)
    facts.append(Fact("To look at first", str(odd), warn=odd > 0))
    return facts


def _subtitle(members: Sequence[Member]) -> str:
    models = {str(member.results.part("model").get("name")) for member in members}
    versions = {str(member.results.content.get("version")) for member in members}
    text = f"model {', '.join(sorted(models))} · lodbrain {', '.join(sorted(versions))}" if members else ""
    return text if len(models) < 2 else f"{text} · volumes of different models do not compare"


def _spreads(folder: Path, members: Sequence[Member], links: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each volume: dots, box, and numbers."""
    names = list(dict.fromkeys(name for member in members for name in member.volumes_mm3))
    first = {name.removeprefix("Left-"): place for place, name in enumerate(names) if not name.startswith("Right-")}
    names.sort(key=lambda name: (first.get(name.removeprefix("Left-").removeprefix("Right-"), len(names)), name))
    rows: list[dict[str, object]] = []
    for name in names:
        values = [member.volumes_mm3[name] for member in members if name in member.volumes_mm3]
        low, middle, high = _quartiles(values)
        digits = 0 if middle >= 100e3 else 1 if middle >= 10e3 else 2
        z = [(place, member.z[name]) for place, member in enumerate(members) if name in member.z]
        dots, box = [], None
        if z:
            q1, q2, q3 = _quartiles([score for _, score in z])
            left, right = _percent(q1), _percent(q3)
            box = (left, round(right - left, 2), _percent(q2)) if len(z) >= 5 else None
            reach = 1.5 * (q3 - q1)
            for place, score in z:
                outside = not q1 - reach <= score <= q3 + reach and len(z) >= 5
                out = outside or abs(score) > FAR_FROM_USUAL
                if out or len(members) <= MOST_DOTS:
                    member = members[place]
                    title = f"{_name(folder, member)}: {number(member.volumes_mm3[name] / 1000, digits)} ml"
                    # jitter in a fixed order, so that equal results give equal pages
                    y = 50.0 if len(z) < 5 else 26 + 12 * (place * 3 % 5)
                    dots.append({"x": _percent(score), "y": y, "out": out, "href": links[place], "title": title})
        median, quartiles = (
            number(middle / 1000, digits),
            f"{number(low / 1000, digits)} to {number(high / 1000, digits)}",
        )
        rows.append({"name": in_words(name), "median": median, "quartiles": quartiles, "dots": dots, "box": box})
    return rows


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _percent(z: float) -> float:
    return round(100 * (min(max(z, -STRIP_SD), STRIP_SD) + STRIP_SD) / (2 * STRIP_SD), 2)


def _name(folder: Path, member: Member) -> str:
    """Return a scan's name in the group: its stem, preceded by its folders if there are several."""
    path = member.results.path
    parent = path.parent.relative_to(folder)
    return (
        member.results.stem if parent == Path() or "sub-" in path.name else f"{parent.as_posix()}/{member.results.stem}"
    )


def _link(folder: Path, results: ScanResults) -> str:
    """Return a link to a scan's page, or an empty string if there is none."""
    return f"./{quote(os.fsencode(results.page.relative_to(folder).as_posix()))}" if results.page.is_file() else ""
