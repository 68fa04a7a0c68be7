"""Type of the functions that report progress, and the one that reports to nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with the share done, 0 to 1, and a short text on the current step.
Progress: TypeAlias = Callable[[float, str], None]


def silent(share: float, text: str) -> None:
    """Report nothing."""
