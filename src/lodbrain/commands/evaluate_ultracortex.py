"""`lodbrain evaluate ultracortex`: verification on 9.4 T heads with manual labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lodbrain.commands.console import progress_bar, tell_error
from lodbrain.commands.options import ModelOptions
from lodbrain.commands.parameters import Flag, Out, Quiet
from lodbrain.datasets.manifest import NAME as MANIFEST
from lodbrain.datasets.ultracortex import ACCESSION, VERSION, fetch_ultracortex, find_cases
from lodbrain.errors import InputError
from lodbrain.evaluation.groups import Interval
from lodbrain.evaluation.manual_labels import (
    PUBLISHED,
    TISSUE_OF_LABEL,
    Verified,
    check_unseen,
    differences,
    protocol_lines,
    read_pair,
    score_scan,
    summarise,
)
from lodbrain.evaluation.metric_files import write_rows
from lodbrain.evaluation.protocol import Shares, count_labels, decide_protocol
from lodbrain.evaluation.score import METRICS, ScoreRow
from lodbrain.report.verification_page import WorstSlice, verification_page, worst_slice
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.system.download import cache_folder
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import write_json, write_tsv
from lodbrain.version import __version__


def ultracortex(
    *,
    out: Out,
    data: Path | None = None,
    options: ModelOptions | None = None,
    overlap_only: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Verify a model on UltraCortex: 12 heads at 9.4 T with manual labels of grey and white matter.

    The treatment of each of our structures by the manual labels is determined and printed before the evaluation. A
    model whose card lists one of the subjects among its training data is rejected. The folder contains ultracortex.tsv,
    summary.tsv, protocol.tsv, ultracortex.json, ultracortex.html and the segmentations, which a second run reuses.

    Parameters
    ----------
    out
        Write the results to this folder.
    data
        Read the scans from this folder, laid out as OpenNeuro ds005216. Default: the cache; missing files are
        downloaded, about 3 GB.
    overlap_only
        Compute only Dice and volumes, which is much faster.
    """
    settings = (options or ModelOptions()).settings()
    keep_freed_memory()

    def tell(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    with progress_bar(show=not quiet) as progress:
        found = verify(
            out,
            settings,
            data=data,
            surfaces=not overlap_only,
            tell=tell,
            progress=progress,
        )
    for problem in found.problems:
        tell_error(problem)
    if not quiet:
        table = Table(title="Dice against the manual labels", title_justify="left", box=None, pad_edge=False)
        for name in ("region", "side", "mean", "95% interval", "scans"):
            table.add_column(name, justify="left" if name in ("region", "side") else "right")
        for (region, side), one in found.summary.items():
            interval = f"{one.low:.3f} to {one.high:.3f}" if one.n > 1 else "n/a"
            table.add_row(region, side, f"{one.mean:.3f}", interval, str(one.n))
        Console(highlight=False).print(table)
        for each in PUBLISHED:
            print(f"{each.method}: {each.figure} ({each.remark})")
        print(f"{out}: ultracortex.html, ultracortex.tsv, summary.tsv, protocol.tsv, ultracortex.json")
    return found.exit_code


ROWS, SUMMARY, PROTOCOL, JSON = "ultracortex.tsv", "summary.tsv", "protocol.tsv", "ultracortex.json"


@dataclass(frozen=True, eq=False)
class Verification:
    """Results of a verification; `summary` is the mean Dice with its bootstrap interval by region and side."""

    cases: tuple[Verified, ...]
    protocol: tuple[Shares, ...]
    rows: tuple[ScoreRow, ...]
    summary: dict[tuple[str, str], Interval]
    problems: tuple[InputError, ...]

    @property
    def exit_code(self) -> int:
        """0 if all cases were evaluated, 3 if some, 4 if none."""
        return 0 if not self.problems else 3 if self.rows else 4


def verify(
    out: Path,
    settings: Settings | None = None,
    *,
    data: Path | None = None,
    surfaces: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> Verification:
    """Verify a model, and write the files; complete segmentations in the folder are reused.

    Parameters
    ----------
    data : Path, optional
        Folder laid out as the dataset. Default: the cache, downloaded if necessary.
    surfaces : bool
        Compute surface distances, too.
    tell : callable, optional
        Called with the treatment of each structure by the labels, before the evaluation.

    Raises
    ------
    UsageError
        If the model was trained on a test scan, or predicts tissue classes only.
    InputError
        If there are no cases, or none could be segmented.
    """
    settings = replace(settings or Settings(), labels="structures", resume=True, overwrite=False)
    check_writable(out)
    model = load_model(settings)
    root = data if data is not None else _fetch(progress)
    cases = find_cases(root)
    check_unseen(model, tuple(case.subject for case in cases))
    done: list[Verified] = []
    problems: list[InputError] = []
    counts = np.zeros((19, 3), np.int64)
    for number, case in enumerate(cases):
        try:
            progress(0.8 * number / len(cases), f"segmenting sub-{case.subject}")
            outcome = segment_file(case.scan, out / "segmentations", settings, model=model)
            classes, manual = read_pair(outcome.outputs, case)
            counts += count_labels(classes, TISSUE_OF_LABEL[manual.data])
            done.append(Verified(case, outcome.outputs, differences(case, manual)))
        except InputError as error:
            problems.append(InputError(error.code, error.path or case.scan, error.what, error.hint))
    if not done:
        raise problems[0]
    protocol = decide_protocol(counts)
    write_tsv(out / PROTOCOL, [f.name for f in fields(Shares)], (astuple(row) for row in protocol))
    for line in protocol_lines(protocol):
        tell(line)
    rows: list[ScoreRow] = []
    for number, each in enumerate(done):
        progress(0.8 + 0.15 * number / len(done), f"scoring {each.name}")
        rows += score_scan(each, protocol, surfaces=surfaces)
    summary = summarise(rows)
    found = Verification(tuple(done), protocol, tuple(rows), summary, tuple(problems))
    _write(out, found, model, root)
    progress(1.0, "done")
    return found


def _fetch(progress: Progress) -> Path:
    folder = cache_folder(f"{ACCESSION}-{VERSION}")
    done = fetch_ultracortex(folder, progress=lambda share, text: progress(0.0, text))
    failed = [file.error for file in done.files if file.error is not None]
    if failed:
        raise failed[0]
    return folder


def _write(out: Path, found: Verification, model: Model, root: Path) -> None:
    write_rows(out / ROWS, found.rows)
    columns = ("region", "side", "mean_dice", "low", "high", "n")
    write_tsv(out / SUMMARY, columns, ((*key, i.mean, i.low, i.high, i.n) for key, i in found.summary.items()))
    manifest = root / MANIFEST
    source = (
        json.loads(manifest.read_text(encoding="utf-8"))["dataset"] if manifest.is_file() else {"folder": root.name}
    )
    verification_page(
        out / "ultracortex.html",
        [_picture(each, found) for each in found.cases],
        summary=found.summary,
        protocol=found.protocol,
        published=PUBLISHED,
        model=f"{model.card.name}, weights {model.sha256[:12]}",
        source=source,
    )
    content = {
        "software": "lodbrain",
        "version": __version__,
        "model": {"name": model.card.name, "sha256": model.sha256},
        "data": source,
        "protocol": [asdict(row) for row in found.protocol],
        "summary": [
            {"region": region, "side": side, **asdict(interval)} for (region, side), interval in found.summary.items()
        ],
        "published": [row._asdict() for row in PUBLISHED],
        "metrics": list(METRICS),
        "cases": {each.name: list(each.notes) for each in found.cases},
        "problems": [str(problem) for problem in found.problems],
    }
    write_json(out / JSON, content)


def _picture(each: Verified, found: Verification) -> WorstSlice:
    ours, manual, _ = each.in_their_numbers(found.protocol)
    dice = {row.region: row.dice for row in found.rows if (row.case, row.side) == (each.name, "both")}
    return worst_slice(each.case.subject, each.case.scan, ours, manual, dice=dice, notes=each.notes)
