"""Bad inputs of the catalogue given to `lodbrain strip`."""

from pathlib import Path

import pytest
from trust_cases import CASES, REFUSED, Bench, Case

from lodbrain.commands import main

REFUSED_CASES = [case for case in CASES if case.make is not None and case.verdict == REFUSED and case.exit == 4]


@pytest.mark.parametrize("case", REFUSED_CASES, ids=lambda case: case.key)
def test_what_segment_refuses_strip_refuses_with_the_same_words(
    case: Case, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.make is not None
    made = case.make(bench)
    if isinstance(made, list):
        pytest.skip("a case of the options or outputs of segment")
    status = main(["strip", str(made), "-o", str(bench.out), "--model", str(bench.model), "-q", "--device", "cpu"])
    out, err = capsys.readouterr()
    assert (status, out) == (4, "")
    assert err.startswith("lodbrain: ") and err.count("\n") == 1, err
    assert "internal error" not in err
    for words in case.says:
        assert words in err
    assert [path for path in Path(bench.out).rglob("*") if path.is_file()] == []
