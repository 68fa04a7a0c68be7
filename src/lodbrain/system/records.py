"""TSV and JSON files: one way to write them, and to read a table."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lodbrain.system.atomic import write_text

#: Missing value in BIDS.
NOT_AVAILABLE = "n/a"


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table, atomically; NaN and None become n/a, floats keep six digits."""
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table in UTF-8, by column.

    Raises
    ------
    OSError, UnicodeDecodeError, csv.Error
        If it cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, atomically, with nine significant digits; NaN and infinity become null."""
    write_text(path, json_text(content, digits=9))


def json_text(content: Mapping[str, Any], *, digits: int | None = None) -> str:
    """Return JSON text; NaN and infinity, which JSON does not support, become null, and paths text.

    Floats have all their digits, or as many significant ones as given.
    """
    return json.dumps(_plain(content, digits), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_AVAILABLE
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    return " ".join(str(value).split())


def _plain(value: Any, digits: int | None) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, digits) for inner in value]
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if digits is None else float(f"{value:.{digits}g}")
    return str(value) if isinstance(value, Path) else value
