"""Error handling of commands: wrong usage, errors of single scans, and the traceback on request."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from lodbrain.errors import LodbrainError, UsageError


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
