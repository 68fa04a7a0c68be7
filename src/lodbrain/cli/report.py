"""`lodbrain report`: pages to look at results."""

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
    """Make pages to look at results: one for each scan, and index.html of all.

    A page is one file that needs nothing else: viewer, outlines, volumes beside what is usual, quality, what was mended
    in the input, and how it was made. The group page shows distributions and what to look at first.

    Parameters
    ----------
    folder
        Results of `lodbrain segment`, or of a BIDS derivative.
    scans
        Folders with the scans that were segmented, if they do not lie beside the results.
    overwrite
        Make pages anew that are up to date.
    quiet
        Print errors only.
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
