"""`lodbrain fetch`: verified, atomic downloads of the public data used by training and tests."""

from __future__ import annotations

from collections import Counter

from cyclopts import App

from lodbrain.commands.console import progress_bar, tell_failed
from lodbrain.commands.parameters import OptionalOut, Out, Quiet, Strings
from lodbrain.datasets import labelmaps as source
from lodbrain.datasets import ultracortex as uc
from lodbrain.datasets.openneuro import FetchedDataset, Selection, fetch_dataset

app = App(name="fetch")


@app.command
def labelmaps(*, out: OptionalOut = None) -> int:
    """Download the 20 label maps of whole heads published with SynthSeg (Apache-2.0, 33 MB).

    Each file is checked against its SHA-256. Existing files are verified and not downloaded again.

    Parameters
    ----------
    out
        Write the files to this folder. Default: the cache, where training looks for them.
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
    subject: Strings = None,
    pattern: Strings = None,
    quiet: Quiet = False,
) -> int:
    """Download a dataset of OpenNeuro, or a part of it, without an account.

    An interrupted download continues where it stopped when the command is run again. The size of each file is checked,
    and its MD5 if the server provides one; sizes and SHA-256 are written to .lodbrain-fetch.json.

    Parameters
    ----------
    accession
        Download the dataset with this accession number, such as ds005216.
    out
        Write the dataset to this folder.
    version
        Require this version; any other is an error. The server has the latest version only. Default: any version.
    subject
        Download these subjects only, with or without sub-. Default: all.
    pattern
        Download files with names of these patterns only, such as '*_T1w.nii.gz'; * matches any characters, including
        slashes. Default: all files except derivatives.
    """
    selection = Selection(tuple(subject or ()), tuple(pattern or ()))
    with progress_bar(show=not quiet) as progress:
        done = fetch_dataset(accession, out, selection, version=version, progress=progress, finished=tell_failed)
    return _conclude(done, quiet=quiet)


@app.command
def ultracortex(
    *,
    out: Out,
    version: str = uc.VERSION,
    subject: Strings = None,
    quiet: Quiet = False,
) -> int:
    """Download the 12 scans of UltraCortex (9.4 T, CC0) with manual labels, and the labels (about 3 GB).

    Parameters
    ----------
    out
        Write the dataset to this folder.
    version
        Require this version; any other is an error. Version 1.0 contains three scans twice.
    subject
        Download all scans of these subjects instead, without derivatives. Default: the 12 with manual labels.
    """
    with progress_bar(show=not quiet) as progress:
        done = uc.fetch_ultracortex(
            out, subjects=tuple(subject or ()), version=version, progress=progress, finished=tell_failed
        )
    return _conclude(done, quiet=quiet)


def _conclude(done: FetchedDataset, *, quiet: bool) -> int:
    """Print the number of downloaded files, and return the exit status."""
    if not quiet:
        counts = Counter(file.status for file in done.files)
        text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        print(f"{done.folder}: version {done.version or 'unknown'} ({done.evidence}); {text}")
    return done.exit_code
