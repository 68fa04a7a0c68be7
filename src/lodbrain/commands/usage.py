"""Error handling of commands: wrong usage, errors of single scans, and the traceback on request."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from lodbrain.errors import UsageError


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


def trace(error: BaseException) -> None:
    """Print the traceback of an error and its causes if LODBRAIN_DEBUG=1 is set."""
    if os.environ.get("LODBRAIN_DEBUG") == "1":
        traceback.print_exception(error)


def tell_error(error: BaseException) -> None:
    """Print one scan's error, which does not end the command, as a line on stderr, after a traceback if asked for."""
    trace(error)
    print(f"lodbrain: {error}", file=sys.stderr, flush=True)
