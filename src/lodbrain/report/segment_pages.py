"""HTML pages of scans that have just been segmented."""

from __future__ import annotations

from importlib.util import find_spec

from lodbrain.errors import UsageError, install_hint
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.system.atomic import write_text


def check_installed() -> None:
    """Check that the packages for pages are installed.

    Raises
    ------
    UsageError
        If one is missing.
    """
    for package, name in (("jinja2", "jinja2"), ("PIL", "pillow")):
        if find_spec(package) is None:
            what = f"the report needs {name}, which is not installed"
            raise UsageError("extra", None, what, install_hint("report"))


def add_page(outcome: ScanOutcome) -> None:
    """Write the page of a segmented scan, unless it is up to date.

    As the other outputs it is first written into the hidden folder, so that a killed process leaves no partial page.

    Raises
    ------
    InputError
        If the label map, its table or the scan cannot be read, or another process is writing these outputs.
    """
    check_installed()
    from lodbrain.report.scan_page import is_up_to_date, scan_page
    from lodbrain.report.sidecars import read_results

    outputs = outcome.outputs
    with outputs.claimed() as work:
        results = read_results(outputs.sidecar)
        if not is_up_to_date(results):
            write_text(outputs.staged(work, outputs.report), scan_page(results, outcome.path))
            outputs.publish_report(work)
