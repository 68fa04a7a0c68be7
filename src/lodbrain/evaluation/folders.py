"""Evaluation of many label maps against references, with result files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from lodbrain.errors import InputError, LodbrainError
from lodbrain.evaluation.metric_files import JSON, TSV, write_rows
from lodbrain.evaluation.pairing import MapPair, pair_up
from lodbrain.evaluation.regions import REGIONS
from lodbrain.evaluation.score import METRICS, PairScore, ScoreRow, score_pair
from lodbrain.evaluation.tables import LabelTable, detect_table
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import write_json
from lodbrain.version import __version__

#: Short definitions of the metrics for the JSON; docs/reference/evaluation.md has the complete ones.
DEFINITIONS = {
    "dice": "2 |P and R| / (|P| + |R|)",
    "volume_similarity": "1 - ||P| - |R|| / (|P| + |R|)",
    "hd95_mm": "greater of the two 95th percentiles, by area, of the distances between surface elements",
    "assd_mm": "mean distance over the area of both surfaces",
    "nsd_1vox": "share of both surfaces' area within the longest voxel side of the other surface",
    "nsd_1mm": "share of both surfaces' area within 1 mm of the other surface",
    "empty": "one mask empty: dice, volume_similarity and nsd 0, distances n/a; both empty: all n/a",
}


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Settings of an evaluation; tables that are None are detected from each map."""

    pred_table: LabelTable | None = None
    ref_table: LabelTable | None = None
    pred_pattern: str | None = None
    ref_pattern: str | None = None
    surfaces: bool = True
    resample: bool = False
    threads: int = 1
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Result of one pair, or its error; `tables` are the names of the prediction's and the reference's label table."""

    pair: MapPair
    tables: tuple[str, ...] = ()
    score: PairScore | None = None
    error: LodbrainError | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of all pairs, and files that could not be paired; `unused` are predictions without a reference."""

    done: tuple[Evaluated, ...]
    problems: tuple[InputError, ...]
    unused: tuple[Path, ...]

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """Return the rows of all cases."""
        return tuple(row for each in self.done if each.score is not None for row in each.score.rows)

    @property
    def exit_code(self) -> int:
        """0 if all references were evaluated, 3 if some were not, 4 if none was."""
        failed = len(self.problems) + sum(each.error is not None for each in self.done)
        scored = sum(each.score is not None for each in self.done)
        return 0 if not failed else 3 if scored else 4


def evaluate_labels(
    pred: Path,
    ref: Path,
    settings: EvaluateSettings,
    *,
    out: Path | None = None,
    progress: Progress = silent,
    finished: Callable[[Evaluated], None] | None = None,
) -> Evaluation:
    """Evaluate label maps against references; a failing pair does not stop the others.

    `out` is the folder for ``evaluation.tsv`` and ``evaluation.json``; None writes nothing.

    Raises
    ------
    InputError
        If there is nothing to evaluate, or results exist.
    """
    if out is not None:
        existing = [out / name for name in (TSV, JSON) if (out / name).exists()]
        if existing and not settings.overwrite:
            hint = "Use --overwrite to replace it, or another -o"
            raise InputError("exists", existing[0], "this output exists already", hint)
        check_writable(out)
    pairing = pair_up(pred, ref, pred_pattern=settings.pred_pattern, ref_pattern=settings.ref_pattern)
    done = []
    for number, pair in enumerate(pairing.pairs):
        progress(number / len(pairing.pairs), pair.case)
        each = _evaluate(pair, settings)
        done.append(each)
        if finished is not None:
            finished(each)
    evaluation = Evaluation(tuple(done), pairing.problems, pairing.unused)
    if out is not None and evaluation.rows:
        write_rows(out / TSV, evaluation.rows)
        write_json(out / JSON, _record(evaluation, settings))
    return evaluation


def _evaluate(pair: MapPair, settings: EvaluateSettings) -> Evaluated:
    try:
        ref, pred = read_labels(pair.ref), read_labels(pair.pred)
        tables = (_table(settings.pred_table, pair.pred, pred), _table(settings.ref_table, pair.ref, ref))
        score = score_pair(
            pred,
            ref,
            case=pair.case,
            pred_table=tables[0],
            ref_table=tables[1],
            surfaces=settings.surfaces,
            resample=settings.resample,
            threads=settings.threads,
        )
    except InputError as error:
        known = error if error.path is not None else InputError(error.code, pair.pred, error.what, error.hint)
        return Evaluated(pair, error=known)
    except MemoryError:
        return Evaluated(pair, error=InputError("memory", pair.pred, "there is not enough memory", "Use --threads 1"))
    names = tuple(table.name for table in tables)
    if not score.rows:
        what = f"no region is known to both label tables, {names[0]} and {names[1]}"
        return Evaluated(pair, error=InputError("no-region", pair.pred, what, "Give --pred-table or --ref-table"))
    return Evaluated(pair, names, score)


def _table(given: LabelTable | None, path: Path, image: Image) -> LabelTable:
    return given if given is not None else detect_table(path, image.data)


def means(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """Return means of each metric over cases by region, with counts of cases, false negatives and false positives.

    A mean is over the cases in which the metric is defined.
    """
    table = []
    for region in REGIONS:
        mine = [row for row in rows if (row.level, row.region, row.side) == (region.level, region.name, region.side)]
        if not mine:
            continue
        entry: dict[str, Any] = {"level": region.level, "region": region.name, "side": region.side, "n": len(mine)}
        entry |= {status: sum(row.status == status for row in mine) for status in ("missed", "invented", "absent")}
        for metric in METRICS:
            values = [value for row in mine if not math.isnan(value := float(getattr(row, metric)))]
            entry[metric] = fmean(values) if values else math.nan
        table.append(entry)
    return table


def _record(evaluation: Evaluation, settings: EvaluateSettings) -> dict[str, Any]:
    return {
        "software": "lodbrain",
        "version": __version__,
        "definitions": DEFINITIONS,
        "settings": {"surfaces": settings.surfaces, "resample": settings.resample},
        "cases": [
            {
                "case": each.pair.case,
                "prediction": str(each.pair.pred),
                "reference": str(each.pair.ref),
                "tables": list(each.tables),
                "notes": list(each.score.notes) if each.score is not None else [],
                "error": str(each.error) if each.error is not None else None,
            }
            for each in evaluation.done
        ],
        "not_paired": [str(problem) for problem in evaluation.problems],
        "without_reference": [str(path) for path in evaluation.unused],
        "means": means(evaluation.rows),
        "rows": [asdict(row) for row in evaluation.rows],
    }
