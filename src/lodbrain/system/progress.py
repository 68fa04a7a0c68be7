"""Type of the functions that report progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with the share done, 0 to 1, and a short text on the current step.
Progress: TypeAlias = Callable[[float, str], None]
