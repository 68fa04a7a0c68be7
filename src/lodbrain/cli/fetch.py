"""`lodbrain fetch`: public data that training and tests use, verified and never half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.datasets import labelmaps as source

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
