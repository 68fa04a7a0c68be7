"""The rules of docs/design.md that a machine can check."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lodbrain"
MODULES = sorted(SOURCE.rglob("*.py"))


def test_imports_point_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out


def test_modules_stay_short() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length >= 350} == {}


def test_no_module_is_called_utils() -> None:
    assert [path.name for path in MODULES if path.stem in {"utils", "util", "helpers", "common", "misc"}] == []


@pytest.mark.parametrize(
    "command", [["-m", "lodbrain", "--help"], ["-m", "lodbrain", "--version"], ["-c", "import lodbrain"]]
)
def test_help_version_and_import_load_nothing_heavy(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "lodbrain" in loaded
    assert loaded & {"torch", "numpy", "scipy", "nibabel", "matplotlib", "requests", "pydantic"} == set()


def test_every_import_is_a_declared_dependency() -> None:
    declared = _requirements()
    distributions = importlib.metadata.packages_distributions()
    missing = set()
    for path in MODULES:
        for root in _imported_roots(path) - set(sys.stdlib_module_names) - {"lodbrain"}:
            if not {name.lower() for name in distributions.get(root, [root])} & declared:
                missing.add((root, str(path.relative_to(SOURCE))))
    assert missing == set()


def test_every_dependency_is_pinned_to_what_was_tested() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.lower().split("==") for line in lines)
    assert _requirements() - pinned.keys() == {"lodbrain"}
    assert pinned["torch"] == "2.13.0"


def test_every_command_in_the_help_can_be_imported() -> None:
    from lodbrain.commands import COMMANDS, app

    for name in COMMANDS:
        assert app[name].help, name


def _requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {re.split(r"[\[<>=; ]", line)[0].lower() for line in lines}


def _imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            roots.add(node.module.split(".")[0])
    return roots
