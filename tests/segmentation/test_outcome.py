from pathlib import Path
from typing import Any

import pytest

from lodbrain.errors import InputError, LodbrainError
from lodbrain.segmentation.outcome import ScanOutcome, exit_code, outlook
from lodbrain.segmentation.outputs import Outputs


def took(*seconds: float, status: Any = "done") -> list[ScanOutcome]:
    return [ScanOutcome(Path("a.nii"), status, Outputs(Path("out"), "a"), seconds=value) for value in seconds]


@pytest.mark.parametrize(
    ("processes", "machines", "line"),
    [
        (1, 1, "10.0 s a scan (median of 3). At this rate 27,000 take 3.1 days on 1 machine like this, 7.5 h on 10."),
        (4, 1, "10.0 s a scan (median of 3). At this rate 27,000 take 19 h on 1 machine like this, 1.9 h on 10."),
        (8, 4, "10.0 s a scan (median of 3). At this rate 27,000 take 38 h on 1 machine like this, 3.8 h on 10."),
    ],
)
def test_outlook_is_the_median_shared_by_the_processes_of_a_machine(processes: int, machines: int, line: str) -> None:
    outcomes = [*took(10.0, 1.0, 400.0), *took(9999.0, status="failed"), *took(0.1, status="skipped")]
    assert outlook(outcomes, processes=processes, machines=machines) == line


def test_two_scans_say_nothing_of_thousands() -> None:
    assert outlook(took(1.0, 2.0)) is None


REFUSED = {"status": "failed", "error": InputError("empty", "a.nii", "the file is empty")}
NO_PAGE = {"status": "done", "page_error": InputError("no-table", "a_dseg.tsv", "it is missing")}
BUG_IN_PAGE = {"status": "done", "page_error": LodbrainError("bug", "a.nii", "internal error")}
DONE = {"status": "done"}


@pytest.mark.parametrize(
    ("fates", "status"),
    [
        ([DONE, DONE], 0),
        ([DONE, REFUSED], 3),
        ([REFUSED, REFUSED], 4),
        ([NO_PAGE], 3),
        ([REFUSED, NO_PAGE], 3),
        ([DONE, BUG_IN_PAGE], 70),
    ],
)
def test_the_exit_status_says_whether_all_is_there(fates: list[dict[str, Any]], status: int) -> None:
    assert (
        exit_code([ScanOutcome(Path("a.nii"), outputs=Outputs(Path("out"), "a"), **fate) for fate in fates]) == status
    )
