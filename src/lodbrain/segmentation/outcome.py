"""Outcomes of scans, and the exit status of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError, exit_status
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.volume_table import Volume


@dataclass(frozen=True, eq=False)
class ScanOutcome:
    """Outcome of one input.

    Attributes
    ----------
    status : {"done", "skipped", "failed"}
        Skipped: the outputs were complete.
    volumes : tuple of Volume
        Empty unless done.
    seconds : float
        Wall-clock time.
    signs : int
        Number of QC warnings, see `lodbrain.segmentation.quality`.
    page_error : LodbrainError or None
        Error of a requested report page that could not be written; the segmentation is complete.
    """

    path: Path
    status: Literal["done", "skipped", "failed"]
    outputs: Outputs
    volumes: tuple[Volume, ...] = ()
    seconds: float = 0.0
    signs: int = 0
    error: LodbrainError | None = None
    page_error: LodbrainError | None = None


def failure(error: Exception, path: Path, more_memory: str = "Use a larger machine.") -> LodbrainError:
    """Return an exception as the error of one input, with its path and a hint.

    Raises
    ------
    OutputError, UsageError, WeightsError
        Errors that concern all inputs are raised again.
    """
    if isinstance(error, (OutputError, UsageError, WeightsError)):
        raise error
    if isinstance(error, LodbrainError):
        # errors of an image in memory have no path
        return error if error.path is not None else InputError(error.code, path, error.what, error.hint)
    known: LodbrainError
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's RuntimeError
        known = InputError("memory", path, "there is not enough memory for it", more_memory)
    else:
        what = f"internal error: {type(error).__name__}: {error}"
        known = LodbrainError("bug", path, what, "This is a bug: please report it")
    known.__cause__ = error
    return known


def exit_code(outcomes: Sequence[ScanOutcome]) -> int:
    """Return the exit status of a command: 0 all done, 3 some scans or pages failed, 4 all failed, 70 a bug."""
    status = exit_status([outcome.error for outcome in outcomes])
    pages = exit_status([outcome.page_error for outcome in outcomes])
    return pages if pages == LodbrainError.exit_code else status or min(pages, 3)
