"""`lodbrain report`: HTML reports of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Quiet
from lodbrain.workflows.report import report as make_pages


def report(
    folder: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    scans: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Write HTML reports of results: a page for each scan, and index.html for all.

    A page is a single self-contained file with viewer, outlines, volumes and their usual ranges, quality, issues
    detected and corrected in the input, and provenance. The group page shows distributions and outliers.

    Parameters
    ----------
    folder
        Folder with results of `lodbrain segment`, or with BIDS derivatives.
    scans
        Folders with the segmented scans, if these are not beside the results.
    overwrite
        Rewrite pages that are up to date.
    quiet
        Print only errors.
    """
    with progress_bar(show=not quiet) as progress:
        made = make_pages(folder, scans=scans or (), overwrite=overwrite, progress=progress)
    for error in made.errors:
        print(f"lodbrain: {error}", file=sys.stderr)
    if made.without_scan:
        print(
            f"lodbrain: {len(made.without_scan)} pages show labels alone, as their scans were not found. "
            "Name their folder with --scans",
            file=sys.stderr,
        )
    if not quiet:
        print(f"{made.index}: {len(made.made)} pages made, {len(made.kept)} up to date")
    return made.exit_code
