"""Segmentation of files in this process, as `lodbrain segment` does it."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from lodbrain.segmentation.jobs import find_jobs, segment_jobs
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.settings import Settings


def segment_files(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    **options: Any,
) -> list[ScanOutcome]:
    """Segment files, folders and globs into a folder; options as of `segment_jobs`."""
    return segment_jobs(find_jobs(inputs, out_dir), settings, **options)
