"""`lodbrain evaluate groups`: statistics over cases and groups of several results, tables, figures, and a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from lodbrain.commands.parameters import Out, Overwrite, Quiet, Strings
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.folders import DEFINITIONS
from lodbrain.evaluation.metric_files import read_rows
from lodbrain.evaluation.participants import Participants, group_cases, read_participants, subject_of
from lodbrain.evaluation.score import ScoreRow
from lodbrain.evaluation.statistic_records import Statistics
from lodbrain.evaluation.statistics import analyse
from lodbrain.report.evaluation_page import LABELS, write_evaluation_page
from lodbrain.report.evaluation_report import build_sections
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.records import write_json, write_tsv
from lodbrain.version import __version__


def groups(
    results: Annotated[list[str], Parameter(name="RESULT", required=True, negative="")],
    /,
    *,
    out: Out,
    participants: Path | None = None,
    by: Strings = None,
    cut: Strings = None,
    seen: Strings = None,
    seen_column: str = "site",
    title: str = "Evaluation",
    seed: int = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Compare models, sites, scanners or ages: means with intervals, paired tests, volume agreement, test-retest.

    The folder contains groups.html (a single self-contained page), figures as SVG and PNG, and the tables means.tsv,
    comparison.tsv, agreement.tsv, seen.tsv and retest.tsv as far as the data allow.

    Parameters
    ----------
    results
        Compare these folders of `lodbrain evaluate labels`, as NAME=FOLDER to name the model. Folders of `lodbrain
        segment` give volumes for test-retest. Folders of the same name are combined.
    out
        Write page, tables and figures to this folder.
    participants
        Read the columns of --by and --seen-column from this BIDS participants.tsv. Default: none.
    by
        Group cases by these columns, such as site scanner age. Numeric columns are divided into thirds. Default: all
        cases are one group.
    cut
        Divide a numeric column at these limits, such as age=40,60. Default: into thirds of the cases.
    seen
        Compare these sites, on which the models were trained, with all others. Default: no comparison.
    seen_column
        Read the site from this column.
    title
        Give the page this heading.
    seed
        Start the bootstrap from this seed.
    """
    settings = GroupSettings(
        participants=participants,
        by=tuple(by or ()),
        cuts=dict(_cut(text) for text in cut or ()),
        seen=tuple(seen or ()),
        seen_column=seen_column,
        title=title,
        seed=seed,
        overwrite=overwrite,
    )
    found = compare_results(results, out, settings)
    if not quiet:
        for note in found.notes:
            print(note)
        print(f"{out / 'groups.html'}")
    return 0


def _cut(text: str) -> tuple[str, tuple[float, ...]]:
    column, _, values = text.partition("=")
    try:
        return column, tuple(float(value) for value in values.split(","))
    except ValueError:
        raise UsageError("setting", None, f"--cut {text!r} is not like age=40,60") from None


JSON, PAGE, FIGURES = "groups.json", "groups.html", "figures"


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """Settings of a comparison, as the options of `groups`; `cuts` maps a column to the limits of its groups."""

    participants: Path | None = None
    by: tuple[str, ...] = ()
    cuts: Mapping[str, tuple[float, ...]]
    seen: tuple[str, ...] = ()
    seen_column: str = "site"
    title: str = "Evaluation"
    seed: int = 0
    overwrite: bool = False


def read_models(results: Iterable[str]) -> dict[str, list[ScoreRow]]:
    """Return the rows of each model, from folders or files of `lodbrain evaluate labels`, as ``NAME=PATH`` or a path.

    The name is the path's last part if none is given. Results of one name are combined.

    Raises
    ------
    UsageError
        If two results of one name have a case in common.
    InputError
        If one cannot be read.
    """
    models: dict[str, list[ScoreRow]] = {}
    for given in results:
        name, _, path = given.rpartition("=")
        if not name or Path(given).exists():
            path, name = given, Path(given).resolve().stem
        rows = read_rows(Path(path))
        twice = {row.case for row in rows} & {row.case for row in models.get(name, [])}
        if twice:
            what = f"{name} has {min(twice)} in another result as well"
            raise UsageError("same-case", path, what, "Give models different names: NAME=PATH")
        models.setdefault(name, []).extend(rows)
    if not models:
        raise UsageError("no-input", None, "no RESULT was given", "Name folders of `lodbrain evaluate labels`")
    return models


def compare_results(results: Sequence[str], out: Path, settings: GroupSettings) -> Statistics:
    """Compare results, and write tables, figures and a page; results and errors as in `read_models`.

    Raises
    ------
    InputError
        If there are results of an earlier comparison, without `overwrite`.
    UsageError
        If groups are wanted without participants, or a site has no case.
    OutputError
        If the folder cannot be written to.
    """
    if (out / JSON).exists() and not settings.overwrite:
        raise InputError("exists", out / JSON, "this output exists already", "Use --overwrite, or another -o")
    if (settings.by or settings.seen) and settings.participants is None:
        raise UsageError("no-participants", None, "groups of cases need --participants", "Name a participants.tsv")
    models = read_models(results)
    cases = list(dict.fromkeys(row.case for rows in models.values() for row in rows))
    groups: dict[str, dict[str, list[str]]] = {}
    seen, notes = None, []
    if settings.participants is not None:
        people = read_participants(settings.participants)
        groups = {by: group_cases(cases, people, by, cuts=settings.cuts.get(by, ())) for by in settings.by}
        notes = [f"{_without(cases, found)} cases have no {by}: left out of its groups." for by, found in groups.items()
                 if _without(cases, found)]  # fmt: skip
        seen = _seen_cases(cases, people, settings)
    check_writable(out / FIGURES)
    (out / JSON).unlink(missing_ok=True)
    found = analyse(models, groups=groups, seen=seen, seed=settings.seed)
    _write_tables(out, found)
    subjects = len({subject_of(case) for case in cases})
    summary = f"{len(cases)} cases of {subjects} subjects; models: {', '.join(models)}."
    write_evaluation_page(
        out / PAGE,
        build_sections(models, found, out / FIGURES),
        title=settings.title,
        summary=summary,
        definitions={LABELS.get(name, name): meaning for name, meaning in DEFINITIONS.items()},
        notes=(*found.notes, *notes),
    )
    content: dict[str, Any] = {
        "software": "lodbrain",
        "version": __version__,
        "results": list(results),
        "settings": {**asdict(settings), "cuts": dict(settings.cuts)},
        "cases": cases,
        "groups": groups,
        "notes": [*found.notes, *notes],
    }
    write_json(out / JSON, content)
    return found


def _without(cases: Sequence[str], groups: Mapping[str, Sequence[str]]) -> int:
    return len(cases) - sum(len(inside) for inside in groups.values())


def _seen_cases(cases: Sequence[str], people: Participants, settings: GroupSettings) -> set[str] | None:
    if not settings.seen:
        return None
    groups = group_cases(cases, people, settings.seen_column)
    if unknown := [value for value in settings.seen if value not in groups]:
        there = ", ".join(groups) or "none"
        what = f"no case has {settings.seen_column} {unknown[0]!r}"
        raise UsageError("no-site", people.path, what, f"There are: {there}")
    return {case for value in settings.seen for case in groups[value]}


def _write_tables(out: Path, found: Statistics) -> None:
    """Write a tidy TSV for each kind of record that is present."""
    tables: dict[str, Sequence[Any]] = {
        "means.tsv": found.means,
        "seen.tsv": found.seen,
        "comparison.tsv": found.comparisons,
        "agreement.tsv": found.agreement,
        "retest.tsv": found.retests,
    }
    for name, records in tables.items():
        if records:
            flat = [_flat(record) for record in records]
            write_tsv(out / name, list(flat[0]), (row.values() for row in flat))
        else:
            (out / name).unlink(missing_ok=True)  # from an earlier run


def _flat(record: Any) -> dict[str, object]:
    """Return the fields of a record, with nested records flattened; an interval's mean has the interval's name."""
    flat: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if not hasattr(value, "__dataclass_fields__"):
            flat[field.name] = value
            continue
        inner = _flat(value)
        if field.name == "difference":
            inner = {"difference" if key == "mean" else key: each for key, each in inner.items()}
        flat |= inner
    return flat
