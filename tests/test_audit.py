"""What CI makes of pip-audit's answers."""

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"

FINE: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.fixture(scope="module")
def audit() -> Any:
    loader = SourceFileLoader("audit", str(SCRIPT))
    spec = spec_from_loader("audit", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([FINE, FINE], 0, "no known weaknesses in 2 packages"),
        ([FINE, WEAK], 1, "b 2: PYSEC-1, fixed in 2.1"),
        ([WEAK, UNKNOWN], 1, "b 2: PYSEC-1, fixed in 2.1"),
        ([FINE, UNKNOWN], 1, "these could not be looked up: c"),
        ([UNKNOWN, UNKNOWN], 0, "left out: the index in use has no list"),
    ],
)
def test_weaknesses_and_unknown_packages_fail_and_an_index_without_lists_is_told(
    packages: list[dict[str, Any]], status: int, said: str, audit: Any
) -> None:
    found, line = audit.verdict(json.dumps({"dependencies": packages, "fixes": []}), "")
    assert found == status and said in line


@pytest.mark.parametrize(
    ("errors", "status", "said"),
    [
        ("ERROR:pip_audit._cli:Tip: your network may be blocking this service.", 0, "could not be reached"),
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(...)", 0, "could not be reached"),
        ("ERROR:pip_audit._cli:invalid requirements input: constraints.txt", 1, "invalid requirements input"),
    ],
)
def test_only_a_network_that_does_not_answer_is_no_failure(errors: str, status: int, said: str, audit: Any) -> None:
    found, line = audit.verdict("", errors)
    assert found == status and said in line
