"""Participants of the cases: subject and session from file names, site, scanner and age from participants.tsv."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lodbrain.errors import InputError, UsageError
from lodbrain.system.records import NOT_AVAILABLE

#: A numeric column with more values than this, or with few cases for each, is divided into groups.
MOST_VALUES = 6

_UNKNOWN = ("", NOT_AVAILABLE, "nan", "NaN", "unknown")


@dataclass(frozen=True)
class Participants:
    """The rows of a participants.tsv.

    Attributes
    ----------
    rows : mapping of str to mapping of str to str
        participant_id -> column -> value.
    """

    rows: Mapping[str, Mapping[str, str]]
    columns: tuple[str, ...]
    path: Path

    def of(self, case: str) -> Mapping[str, str]:
        """Return the row of a case's subject; empty where there is none."""
        subject = subject_of(case)
        for name in (subject, f"sub-{subject}", subject.removeprefix("sub-"), case):
            if name in self.rows:
                return self.rows[name]
        return {}


def subject_of(case: str) -> str:
    """Return the subject of a case: the word with ``sub-``, or the whole name without such a word.

    Examples
    --------
    >>> subject_of("sub-03_ses-1_run-2"), subject_of("malc-1000"), subject_of("ann_ses-2")
    ('sub-03', 'malc-1000', 'ann')
    """
    words = case.split("_")
    named = [word for word in words if word.startswith("sub-")]
    if named:
        return named[0]
    return "_".join(word for word in words if not re.match(r"(ses|run|acq|rec)-", word)) or case


def read_participants(path: Path) -> Participants:
    """Read a BIDS participants.tsv: a column participant_id and any others.

    Raises
    ------
    InputError
        If the file is missing or has no such column.
    """
    if path.is_dir():
        path = path / "participants.tsv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, delimiter="\t")
            columns = tuple(lines.fieldnames or ())
            if "participant_id" not in columns:
                raise InputError("bad-participants", path, "it has no column participant_id", "Give a BIDS TSV file")
            rows = {line["participant_id"]: {k: v or "" for k, v in line.items() if k} for line in lines}
    except OSError as error:
        raise InputError("missing", path, f"it cannot be read ({error.strerror})", "Check the spelling") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("bad-participants", path, f"it is damaged ({error})", "Give a BIDS TSV file") from error
    return Participants(rows, columns, path)


def group_cases(
    cases: Sequence[str], participants: Participants, column: str, *, cuts: Sequence[float] = ()
) -> dict[str, list[str]]:
    """Return cases by the value of a column, in order; cases without a value are ignored.

    `cuts` are the limits of the groups of a numeric column: 40 and 60 give below 40, 40 to below 60, 60 and above.
    Without limits, a column of more than six different numbers (or of fewer than two cases each) is divided into thirds
    of the cases.

    Raises
    ------
    UsageError
        If there is no such column, or `cuts` are given for a column of words.
    """
    if column not in participants.columns:
        there = ", ".join(participants.columns[1:]) or "none"
        raise UsageError("no-column", participants.path, f"there is no column {column!r}", f"There are: {there}")
    values = {case: participants.of(case).get(column, "").strip() for case in cases}
    values = {case: value for case, value in values.items() if value not in _UNKNOWN}
    numbers = _numbers(values.values())
    if numbers is None:
        if cuts:
            raise UsageError(
                "not-numbers", participants.path, f"{column!r} does not hold numbers", "Leave out the cuts"
            )
        return {value: [c for c in values if values[c] == value] for value in sorted(set(values.values()))}
    distinct = len(set(numbers))
    if not cuts and (distinct < 4 or (distinct <= MOST_VALUES and 2 * distinct <= len(numbers))):
        by_number = dict(zip(values, numbers, strict=True))
        return {f"{n:g}": [case for case in values if by_number[case] == n] for n in sorted(set(numbers))}
    edges = sorted(cuts) if cuts else _thirds(numbers)
    bounds = [-math.inf, *edges, math.inf]
    groups: dict[str, list[str]] = {}
    for low, high in pairwise(bounds):
        inside = [case for case, number in zip(values, numbers, strict=True) if low <= number < high]
        name = f"< {high:g}" if low == -math.inf else f"≥ {low:g}" if high == math.inf else f"{low:g} to < {high:g}"
        if inside:
            groups[name] = inside
    return groups


def _thirds(numbers: Sequence[float]) -> list[float]:
    """Return the limits between thirds of different numbers, rounded to a power of ten of 1% to 10% of their range."""
    digits = -math.floor(math.log10((max(numbers) - min(numbers)) / 10))
    return sorted({round(float(q), digits) for q in np.quantile(numbers, [1 / 3, 2 / 3])})


def _numbers(values: Iterable[str]) -> list[float] | None:
    try:
        return [float(value) for value in values]
    except ValueError:
        return None
