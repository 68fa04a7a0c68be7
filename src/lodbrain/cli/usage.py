"""Options that cannot be: the line that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lodbrain.errors import UsageError


@contextmanager
def wrong_usage(code: str = "setting") -> Iterator[None]:
    """Tell of a `ValueError` in the block, such as an option out of its range, as wrong usage.

    Raises
    ------
    UsageError
        Of that code, with the words of the `ValueError`.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(code, None, str(error)) from error
