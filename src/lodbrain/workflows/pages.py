"""Pages of scans that were just segmented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from lodbrain.errors import InputError, UsageError
from lodbrain.inference.outcome import Outcome


def check_installed() -> None:
    """Check that what the pages are made with is there.

    Raises
    ------
    UsageError
        If it is not.
    """
    for package, name in (("jinja2", "jinja2"), ("PIL", "pillow")):
        if find_spec(package) is None:
            hint = "Install it with: pip install 'lodbrain[report]'"
            raise UsageError("extra", None, f"the report needs {name}, which is not installed", hint)


def add_pages(outcomes: Sequence[Outcome], *, progress: Callable[[float, str], None] | None = None) -> list[InputError]:
    """Write the page of each scan that did not fail, unless it is there and up to date.

    Returns
    -------
    list of InputError
        Why some have none; their segmentations are complete all the same.

    Raises
    ------
    OutputError
        If a page cannot be written.
    """
    from lodbrain.report.scan_page import ensure_page

    errors = []
    for place, outcome in enumerate(outcomes):
        if outcome.error is None:
            if progress is not None:
                progress(place / len(outcomes), f"{outcome.path.name}: report")
            try:
                ensure_page(outcome.outputs.sidecar, outcome.path)
            except InputError as error:
                errors.append(error)
    return errors
