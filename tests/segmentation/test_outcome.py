from pathlib import Path
from typing import Any

import pytest

from lodbrain.errors import InputError, LodbrainError
from lodbrain.segmentation.outcome import ScanOutcome, exit_code
from lodbrain.segmentation.outputs import Outputs

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
