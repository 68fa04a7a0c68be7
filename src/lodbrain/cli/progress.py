"""The progress bar of the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(*, show: bool = True) -> Iterator[Callable[[float, str], None] | None]:
    """Give a callable of the share done and a few words that draws a bar on stderr, or None where nobody watches."""
    if not (show and sys.stderr.isatty()):
        yield None
        return
    # rich takes some 0.05 s to import, which batch jobs can save
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    # the bar makes way for lines that go to the same terminal, and leaves a redirected stdout alone
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)
