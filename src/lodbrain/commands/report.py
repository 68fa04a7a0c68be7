"""`lodbrain report`: HTML reports of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.commands.console import progress_bar, tell_error
from lodbrain.commands.parameters import Flag, Paths, Quiet
from lodbrain.errors import InputError, shown
from lodbrain.report.group_page import write_group_page
from lodbrain.report.scan_page import is_up_to_date, write_scan_page
from lodbrain.report.sidecars import ScanResults, find_sidecars, read_results
from lodbrain.segmentation.inputs import IMAGE_SUFFIXES, PAIR_SUFFIXES
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.hashing import sha256
from lodbrain.system.progress import Progress, silent


def report(
    folder: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    scans: Paths = None,
    overwrite: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Write HTML reports of results: a page for each scan, and index.html for all.

    A page is a single self-contained file with viewer, outlines, volumes and their usual ranges, quality, issues
    detected and corrected in the input, and provenance. The group page shows distributions and outliers.

    Parameters
    ----------
    folder
        Make the pages of this folder with results of `lodbrain segment`, or with BIDS derivatives.
    scans
        Find the segmented scans in these folders. Default: beside the results.
    overwrite
        Also write pages that are up to date.
    """
    with progress_bar(show=not quiet) as progress:
        made = write_pages(folder, scans=scans or (), overwrite=overwrite, progress=progress)
    for error in made.errors:
        tell_error(error)
    if made.without_scan:
        print(
            f"lodbrain: {len(made.without_scan)} pages show labels alone, as their scans were not found. "
            "Name their folder with --scans",
            file=sys.stderr,
        )
    if not quiet:
        print(f"{made.index}: {len(made.made)} pages made, {len(made.kept)} up to date")
    return made.exit_code


@dataclass(frozen=True, eq=False)
class Report:
    """Outcome for a folder.

    Attributes
    ----------
    made, kept : tuple of Path
        Pages of scans that were written, and those that were up to date.
    without_scan : tuple of Path
        Written pages without the scan, because it was not found.
    """

    index: Path
    made: tuple[Path, ...]
    kept: tuple[Path, ...]
    without_scan: tuple[Path, ...]
    errors: tuple[InputError, ...]

    @property
    def exit_code(self) -> int:
        """0 if all results have a page, 3 if some have none, 4 if none has one."""
        return 0 if not self.errors else 3 if self.made or self.kept else 4


def write_pages(
    folder: str | PathLike[str],
    *,
    scans: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write the pages of all results in a folder and its subfolders, and ``index.html``.

    Scans are looked for in `folder` and in `scans`.

    Raises
    ------
    InputError
        If there is no such folder, or it has no results.
    """
    folder = Path(folder)
    sidecars = find_sidecars(folder)
    check_writable(folder)
    places = index_scans([folder, *map(Path, scans)])
    made, kept, without, errors = [], [], [], []
    group: list[ScanResults] = []
    for place, sidecar in enumerate(sidecars):
        progress(place / len(sidecars), sidecar.name)
        try:
            results = read_results(sidecar)
            if not overwrite and is_up_to_date(results):
                kept.append(results.page)
            else:
                scan = find_scan(results, places)
                made.append(write_scan_page(results, scan))
                if scan is None:
                    without.append(results.page)
            group.append(results)
        except InputError as error:
            errors.append(error)
    broken = [str(error).replace(f"{folder}{os.sep}", "") for error in errors]  # pages are passed on
    index = write_group_page(folder, group, broken=broken)
    return Report(index, tuple(made), tuple(kept), tuple(without), tuple(errors))


def index_scans(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return images in folders and their subfolders by name, without hidden folders.

    Raises
    ------
    InputError
        If a folder does not exist.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError("missing", folder, "there is no such folder", "Check the spelling")
        for root, below, files in os.walk(folder):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in files:
                if name.lower().endswith((*IMAGE_SUFFIXES, *PAIR_SUFFIXES)):
                    found.setdefault(shown(name), []).append(Path(root, name))
    return found


def find_scan(results: ScanResults, places: dict[str, list[Path]]) -> Path | None:
    """Return the segmented scan, by the sidecar's name and checksum; None if it is not found."""
    recorded = results.part("input")
    candidates: Sequence[Path] = places.get(str(recorded.get("name")), ())
    return next((path for path in candidates if path.is_file() and sha256(path) == recorded.get("sha256")), None)
