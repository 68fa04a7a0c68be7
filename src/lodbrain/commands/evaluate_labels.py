"""`lodbrain evaluate labels`: label maps compared with references."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lodbrain.commands.console import progress_bar, tell_error, tell_failed
from lodbrain.commands.parameters import Flag, OptionalOut, Overwrite, Quiet
from lodbrain.evaluation.folders import EvaluateSettings, evaluate_labels, means
from lodbrain.evaluation.tables import table_named

_HEADINGS = {
    "dice": "Dice",
    "volume_similarity": "volume",
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
    "nsd_1vox": "NSD 1 vox",
    "nsd_1mm": "NSD 1 mm",
}


def labels(
    *,
    pred: Path,
    ref: Path,
    out: OptionalOut = None,
    pred_table: str | None = None,
    ref_table: str | None = None,
    pred_pattern: str | None = None,
    ref_pattern: str | None = None,
    overlap_only: Flag = False,
    resample: Flag = False,
    sides: Flag = False,
    threads: int | None = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Compare label maps with references: overlap, volumes and surface distances of every region that both contain.

    The folder contains evaluation.tsv, with one row per case and region, and evaluation.json, with the settings.

    Parameters
    ----------
    pred
        Evaluate these label maps: a file, a folder or a BIDS tree.
    ref
        Compare with these references, which are paired with the label maps by name.
    out
        Write the results to this folder. Default: results are only printed.
    pred_table
        Read predictions with this label table: structures, tissue, brain, freesurfer, or a TSV with the columns index
        and freesurfer (or tissue, brain). Default: detected from the map.
    ref_table
        Read references with this label table, as for --pred-table. Default: detected from the map.
    pred_pattern
        Use predictions in a folder that match this pattern, such as '*_dseg.nii.gz'. Default: all label maps.
    ref_pattern
        Use references in a folder that match this pattern, such as '*/mri/aparc+aseg.mgz'. Default: all label maps.
    overlap_only
        Compute only Dice and volumes, which is much faster.
    resample
        Resample predictions on another grid to the reference's, by nearest neighbour.
    sides
        Also print left and right sides. The files always contain them.
    threads
        Compute this number of regions in parallel. Default: one per core.
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

    with progress_bar(show=not quiet) as progress:
        evaluation = evaluate_labels(pred, ref, settings, out=out, progress=progress, finished=tell_failed)
    for problem in evaluation.problems:
        tell_error(problem)
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
        From `lodbrain.evaluation.folders.means`.
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
