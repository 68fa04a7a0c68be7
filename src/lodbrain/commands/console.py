"""Terminal output of all commands: progress bar, errors of single scans, tracebacks on request."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from lodbrain.errors import LodbrainError, UsageError
from lodbrain.system.progress import Progress, silent


class _Outcome(Protocol):
    @property
    def error(self) -> LodbrainError | None: ...


@contextmanager
def wrong_usage(code: str = "setting") -> Iterator[None]:
    """Report a `ValueError` in the block, such as an option out of range, as wrong usage.

    Raises
    ------
    UsageError
        With the given code and the message of the `ValueError`.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(code, None, str(error)) from error


def tell_error(error: BaseException | str) -> None:
    """Print an error that does not end the command as a line on stderr, after a traceback with LODBRAIN_DEBUG=1."""
    if isinstance(error, BaseException) and os.environ.get("LODBRAIN_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"lodbrain: {error}", file=sys.stderr, flush=True)


def tell_failed(outcome: _Outcome) -> None:
    """Print the error of an input, if it failed, as `tell_error`."""
    if outcome.error is not None:
        tell_error(outcome.error)


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
