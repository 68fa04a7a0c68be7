"""`lodbrain evaluate`: evaluation of segmentations, and comparison of models and groups."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Quiet
from lodbrain.errors import UsageError
from lodbrain.evaluation.tables import table_named
from lodbrain.workflows.evaluate import Evaluated, EvaluateSettings, evaluate_labels, means

app = App(name="evaluate")
for _name, _help in (
    ("stress", "Make scans worse step by step, segment them, and see what becomes of the Dice."),
    ("quality", "Check the quality score: synthetic scans made worse, segmented, scored against the truth."),
    ("calibration", "Fit a temperature and intervals of volumes for a model, and measure what they are worth."),
    ("ultracortex", "Verify a model on UltraCortex: 12 heads at 9.4 T with grey and white matter drawn by hand."),
):
    app.command(f"lodbrain.cli.{_name}:{_name}", name=_name, help=_help)


_HEADINGS = {
    "dice": "Dice",
    "volume_similarity": "volume",
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
    "nsd_1vox": "NSD 1 vox",
    "nsd_1mm": "NSD 1 mm",
}


@app.command
def labels(
    *,
    pred: Path,
    ref: Path,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    pred_table: str | None = None,
    ref_table: str | None = None,
    pred_pattern: str | None = None,
    ref_pattern: str | None = None,
    overlap_only: Flag = False,
    resample: Flag = False,
    sides: Flag = False,
    threads: int | None = None,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Compare label maps with references: overlap, volumes and surface distances of every region that both contain.

    The folder contains evaluation.tsv, with one row per case and region, and evaluation.json, with the settings.

    Parameters
    ----------
    pred
        Label maps to evaluate: a file, a folder or a BIDS tree.
    ref
        References; they are paired with the label maps by name.
    out
        Folder for the results. Default: results are only printed.
    pred_table
        Label table of the predictions: structures, tissue, brain, freesurfer, or a TSV with the columns index and
        freesurfer (or tissue, brain). Default: detected from the map.
    ref_table
        Label table of the references, as for --pred-table. Default: detected from the map.
    pred_pattern
        Pattern of the predictions in a folder, such as '*_dseg.nii.gz'. Default: all label maps.
    ref_pattern
        Pattern of the references in a folder, such as '*/mri/aparc+aseg.mgz'. Default: all label maps.
    overlap_only
        Compute only Dice and volumes, which is much faster.
    resample
        Resample predictions on another grid to the reference's, by nearest neighbour.
    sides
        Print left and right sides, too. The files always contain them.
    threads
        Number of regions computed in parallel. Default: one per core.
    overwrite
        Replace existing results.
    quiet
        Print only errors.
    """
    settings = EvaluateSettings(
        pred_table=table_named(pred_table) if pred_table is not None else None,
        ref_table=table_named(ref_table) if ref_table is not None else None,
        pred_pattern=pred_pattern,
        ref_pattern=ref_pattern,
        surfaces=not overlap_only,
        resample=resample,
        threads=threads or os.cpu_count() or 1,
        overwrite=overwrite,
    )

    def say(each: Evaluated) -> None:
        if each.error is not None:
            print(f"lodbrain: {each.error}", file=sys.stderr, flush=True)

    with progress_bar(show=not quiet) as progress:
        evaluation = evaluate_labels(pred, ref, settings, out=out, progress=progress, finished=say)
    for problem in evaluation.problems:
        print(f"lodbrain: {problem}", file=sys.stderr)
    noted = [each for each in evaluation.done if each.score is not None and each.score.notes]
    if noted and not quiet:
        for note in noted[0].score.notes if noted[0].score is not None else ():
            print(f"{noted[0].pair.case}: {note}")
        if len(noted) > 1:
            print(f"Notes on {len(noted) - 1} more cases: in evaluation.json.")
    if evaluation.unused and not quiet:
        names = ", ".join(path.name for path in evaluation.unused[:3]) + (" ..." * (len(evaluation.unused) > 3))
        print(f"{len(evaluation.unused)} without a reference: {names}")
    if evaluation.rows and not quiet:
        cases = len({row.case for row in evaluation.rows})
        title = f"Mean of {cases} case{'s' * (cases != 1)}"
        Console(highlight=False).print(means_table(means(evaluation.rows), title=title, sides=sides))
        if out is not None:
            print(f"{out}: evaluation.tsv, evaluation.json")
    return evaluation.exit_code


def means_table(entries: list[dict[str, Any]], *, title: str, sides: bool = False) -> Table:
    """Return means by region as a printable table: each structure once, its sides only on request.

    Parameters
    ----------
    entries : list of dict
        From `lodbrain.workflows.evaluate.means`.
    """
    shown = [entry for entry in entries if sides or entry["side"] not in ("left", "right")]
    # Structures without sides in the map are kept in the table.
    merged = {entry["region"] for entry in shown}
    shown += [entry for entry in entries if not sides and entry["region"] not in merged]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("region", no_wrap=True)
    columns = [metric for metric in _HEADINGS if any(not math.isnan(entry[metric]) for entry in shown)]
    for metric in columns:
        table.add_column(_HEADINGS[metric], justify="right", no_wrap=True)
    empty = any(entry["missed"] or entry["invented"] for entry in shown)
    if empty:
        table.add_column("missed", justify="right")
        table.add_column("invented", justify="right")
    level = shown[0]["level"] if shown else ""
    for entry in shown:
        if (entry["level"] in ("tissue", "brain")) and level not in ("tissue", "brain"):
            table.add_section()
            table.add_row()
        level = entry["level"]
        name = f"{entry['side']} {entry['region']}" if entry["side"] in ("left", "right") else entry["region"]
        cells = ["n/a" if math.isnan(entry[m]) else f"{entry[m]:.{2 if m.endswith('_mm') else 3}f}" for m in columns]
        counts = [str(entry["missed"] or ""), str(entry["invented"] or "")] if empty else []
        table.add_row(name, *cells, *counts, style="bold" if level in ("tissue", "brain") else "")
    return table


@app.command
def groups(
    results: Annotated[list[str], Parameter(name="RESULT", required=True, negative="")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    participants: Path | None = None,
    by: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    cut: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seen: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seen_column: str = "site",
    title: str = "Evaluation",
    seed: int = 0,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Compare models, sites, scanners or ages: means with intervals, paired tests, volume agreement, test-retest.

    The folder contains groups.html (a single self-contained page), figures as SVG and PNG, and the tables means.tsv,
    comparison.tsv, agreement.tsv, seen.tsv and retest.tsv as far as the data allow.

    Parameters
    ----------
    results
        Folders of `lodbrain evaluate labels`, as NAME=FOLDER to name the model. Folders of `lodbrain segment` give
        volumes for test-retest. Folders of the same name are combined.
    out
        Folder for the page, tables and figures.
    participants
        BIDS participants.tsv, whose columns --by and --seen-column refer to.
    by
        Columns by which cases are grouped, such as site scanner age. Numeric columns are divided into thirds.
    cut
        Limits of the groups of a numeric column, such as age=40,60. Default: thirds of the cases.
    seen
        Sites that the models were trained on; all others count as unseen.
    seen_column
        Column with the site.
    title
        Heading of the page.
    seed
        Seed of the bootstrap.
    overwrite
        Replace existing results.
    quiet
        Print only errors.
    """
    from lodbrain.workflows.groups import GroupSettings, compare_results  # slow import: matplotlib

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
