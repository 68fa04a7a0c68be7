"""`lodbrain fetch`: public data that training and tests use, verified and never half-written."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Out, Quiet
from lodbrain.datasets import labelmaps as source
from lodbrain.datasets import ultracortex as uc
from lodbrain.datasets.openneuro import Fetch, Fetched, Selection, fetch_dataset

app = App(name="fetch")


@app.command
def labelmaps(*, out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None) -> int:
    """Get the 20 label maps of whole heads that SynthSeg publishes (Apache-2.0, 33 MB).

    Each is checked against its SHA-256. What is there already is verified and not downloaded again.

    Parameters
    ----------
    out
        Folder to put them in, by default the cache, where training looks for them.
    """
    with progress_bar() as progress:
        folder = source.fetch_labelmaps(out, progress=progress)
    print(f"{len(source.SHA256)} label maps in {folder}")
    return 0


@app.command
def openneuro(
    accession: str,
    /,
    *,
    out: Out,
    version: str | None = None,
    subject: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    pattern: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    quiet: Quiet = False,
) -> int:
    """Get a dataset of OpenNeuro, or a part of it, without signing in.

    A download that breaks off goes on where it stopped when the command is run again. Each file's size is checked, and
    its MD5 where the storage gives one; sizes and SHA-256 are written to .lodbrain-fetch.json.

    Parameters
    ----------
    accession
        Such as ds005216.
    out
        Folder for the dataset.
    version
        Refuse any other. The storage holds the latest version only.
    subject
        One or more labels, with or without sub-. Default: all.
    pattern
        One or more patterns of file names such as '*_T1w.nii.gz'; * stands for anything, slashes too. Default: all
        files but derivatives.
    quiet
        Print errors only.
    """
    selection = Selection(tuple(subject or ()), tuple(pattern or ()))
    with progress_bar(show=not quiet) as progress:
        done = fetch_dataset(accession, out, selection, version=version, progress=progress, finished=_tell_failed)
    return _conclude(done, quiet=quiet)


@app.command
def ultracortex(
    *,
    out: Out,
    version: str = uc.VERSION,
    subject: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    quiet: Quiet = False,
) -> int:
    """Get the 12 scans of UltraCortex (9.4 T, CC0) with manual labels, and those labels: some 3 GB.

    Parameters
    ----------
    out
        Folder for the dataset.
    version
        Refuse any other. 1.0 holds three scans twice.
    subject
        One or more other subjects: all their scans, without derivatives.
    quiet
        Print errors only.
    """
    with progress_bar(show=not quiet) as progress:
        done = uc.fetch_ultracortex(
            out, subjects=tuple(subject or ()), version=version, progress=progress, finished=_tell_failed
        )
    return _conclude(done, quiet=quiet)


def _tell_failed(file: Fetched) -> None:
    if file.error is not None:
        print(f"lodbrain: {file.error}", file=sys.stderr, flush=True)


def _conclude(done: Fetch, *, quiet: bool) -> int:
    """Print how many files came, and give the exit status."""
    if not quiet:
        counts = Counter(file.status for file in done.files)
        text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        print(f"{done.folder}: version {done.version or 'unknown'} ({done.evidence}); {text}")
    return done.exit_code
