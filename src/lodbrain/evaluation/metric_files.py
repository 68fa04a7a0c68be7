"""Metric files: a tidy TSV with one row per case and region, and JSON with the parameters of the evaluation."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from lodbrain.errors import InputError
from lodbrain.evaluation.regions import INTRACRANIAL, REGIONS
from lodbrain.evaluation.score import COLUMNS, METRICS, ScoreRow
from lodbrain.segmentation.results import GROUP_VOLUMES
from lodbrain.segmentation.volume_table import BRAIN, TIV
from lodbrain.system.records import NOT_AVAILABLE, read_tsv, write_tsv

TSV, JSON = "evaluation.tsv", "evaluation.json"

_TEXTS = ("case", "level", "region", "side", "status")


def write_rows(path: Path, rows: Iterable[ScoreRow]) -> None:
    """Write metrics as TSV with the columns of `ScoreRow`."""
    write_tsv(path, COLUMNS, (astuple(row) for row in rows))


def read_rows(path: Path) -> list[ScoreRow]:
    """Return metrics from a file of `write_rows`, or from the folder that holds it.

    For a folder of `lodbrain segment`'s results, the volumes are returned.

    Raises
    ------
    InputError
        If the file is missing or has other columns.
    """
    if path.is_dir():
        if not (path / TSV).exists():
            return read_volumes(path)
        path = path / TSV
    hint = "Expected a result of `lodbrain evaluate labels`"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, delimiter="\t")
            if missing := [column for column in COLUMNS if column not in (lines.fieldnames or ())]:
                raise InputError("bad-result", path, f"it has no column {missing[0]}", hint)
            return [_row(line) for line in lines]
    except OSError as error:
        raise InputError("missing", path, f"it cannot be read ({error.strerror})", hint) from error
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError("bad-result", path, f"it is damaged ({error})", hint) from error


def read_volumes(folder: Path) -> list[ScoreRow]:
    """Return volumes in ``NAME_volumes.tsv`` of `lodbrain segment`, as rows without a reference, for test-retest.

    Raises
    ------
    InputError
        If there are none, or one cannot be read.
    """
    # reversed, so that the brainstem is a structure and not a tissue
    places = {
        f"{r.side.capitalize()}-{r.name}" if r.side in ("left", "right") else r.name: r for r in reversed(REGIONS)
    }
    places |= {BRAIN: places["Brain"], TIV: INTRACRANIAL}
    rows = []
    for path in sorted(folder.rglob("*_volumes.tsv")):
        if path.name == GROUP_VOLUMES:  # the same volumes again
            continue
        case = re.sub(r"(_T1w|_desc-[^_]+)?_volumes\.tsv$", "", path.name)
        try:
            volumes = {line["name"]: float(line["volume_mm3"]) for line in read_tsv(path)}
        except (OSError, KeyError, ValueError) as error:
            hint = "Expected a table of `lodbrain segment`"
            raise InputError("bad-result", path, "it is not a table of volumes", hint) from error
        blank = dict.fromkeys(METRICS, math.nan)
        rows += [
            ScoreRow(
                case=case,
                level=places[name].level,
                region=places[name].name,
                side=places[name].side,
                status="invented",
                pred_volume_mm3=volume,
                ref_volume_mm3=math.nan,
                **blank,
            )
            for name, volume in volumes.items()
            if name in places
        ]
    if not rows:
        hint = "Expected a result of `lodbrain evaluate labels`, or volumes of `lodbrain segment`"
        raise InputError("missing", folder, f"there is no {TSV} and no table of volumes in this folder", hint)
    return rows


def _row(line: Mapping[str, str]) -> ScoreRow:
    values: dict[str, Any] = {
        column: line[column] if column in _TEXTS else math.nan if line[column] == NOT_AVAILABLE else float(line[column])
        for column in COLUMNS
    }
    return ScoreRow(**values)
