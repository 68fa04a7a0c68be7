"""`lodbrain evaluate`: how good segmentations are, and for whom."""

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
    """Score label maps against references: overlap, volumes and surface distances of every region that both know.

    The folder gets evaluation.tsv, a row for each case and region, and evaluation.json, which says how it was made.

    Parameters
    ----------
    pred
        Label maps to score: a file, a folder or a BIDS tree.
    ref
        References, paired with them by name.
    out
        Folder for the results. Without it they are only shown.
    pred_table
        What the prediction's numbers mean: structures, tissue, brain, freesurfer, or a TSV with the columns index and
        freesurfer (or tissue, brain). Default: told from the map.
    ref_table
        The same for the references.
    pred_pattern
        Which files of the folder, such as '*_dseg.nii.gz'.
    ref_pattern
        The same for the references, such as '*/mri/aparc+aseg.mgz'.
    overlap_only
        Dice and volumes only, in a fraction of the time.
    resample
        Bring predictions on another grid to the reference's, by nearest voxels.
    sides
        Show left and right, too. The files always have them.
    threads
        Regions worked on at once. Default: one a core.
    overwrite
        Replace results that are there.
    quiet
        Print errors only.
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
    """Return means by region as a table for people: each structure once, its sides only on request.

    Parameters
    ----------
    entries : list of dict
        From `lodbrain.workflows.evaluate.means`.
    """
    shown = [entry for entry in entries if sides or entry["side"] not in ("left", "right")]
    # a map with sides only for some structures keeps the others in the table
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
    """Compare models, sites, scanners, ages: means with intervals, paired tests, agreement of volumes, test-retest.

    The folder gets groups.html (one page, nothing loaded from elsewhere), figures as SVG and PNG, and the tables
    means.tsv, comparison.tsv, agreement.tsv, seen.tsv and retest.tsv where there is something to say.

    Parameters
    ----------
    results
        Folders of `lodbrain evaluate labels`, as NAME=FOLDER to name the model. Folders of `lodbrain segment` give
        volumes for test-retest. Several of one name are put together.
    out
        Folder for the page, tables and figures.
    participants
        A participants.tsv of BIDS.
    by
        Its columns to group the cases by, such as site scanner age. Numbers are cut into thirds.
    cut
        Where to cut a column of numbers instead, such as age=40,60.
    seen
        Sites that the models saw in training: all others are unseen.
    seen_column
        Column that holds the site.
    title
        Heading of the page.
    seed
        Of the bootstrap.
    overwrite
        Replace results that are there.
    quiet
        Print errors only.
    """
    from lodbrain.workflows.groups import GroupSettings, compare_results  # draws figures, which `labels` never does

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
