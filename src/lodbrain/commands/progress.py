"""Progress bar of the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lodbrain.system.progress import Progress, silent


@contextmanager
def progress_bar(*, show: bool = True) -> Iterator[Progress]:
    """Yield a callable (share done, description) that updates a bar on stderr, or does nothing without a terminal."""
    if not (show and sys.stderr.isatty()):
        yield silent
        return
    # the import of rich takes about 0.05 s, which batch jobs can save
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    # the bar does not mix with other lines on the terminal, and does not affect a redirected stdout
    with Bar(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)
