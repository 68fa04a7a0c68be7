"""Error handling of commands: wrong usage, and the traceback on request."""

from __future__ import annotations

import os
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
