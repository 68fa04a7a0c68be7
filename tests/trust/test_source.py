"""Rules of SECURITY.md that the source itself can show."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "lodbrain"
TREES = {path.relative_to(SOURCE): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}


def _names(tree: ast.AST) -> Iterator[str]:
    """Every imported module and every dotted name that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def _users(*forbidden: str) -> list[str]:
    return sorted(
        f"{path}: {name}"
        for path, tree in TREES.items()
        for name in _names(tree)
        if any(name == word or name.startswith(word + ".") for word in forbidden)
    )


def test_no_archive_is_unpacked_but_file_by_file_under_names_of_our_own() -> None:
    users = _users("zipfile", "tarfile", "shutil.unpack_archive")
    assert {user.partition(":")[0] for user in users} == {"images/dicom_source.py"}
    names = list(_names(TREES[Path("images/dicom_source.py")]))
    assert [name for name in names if name.split(".")[-1] in ("extract", "extractall")] == []


def test_nothing_is_unpickled() -> None:
    loaders = ("torch.load", "np.load", "numpy.load", "joblib", "cloudpickle", "dill", "marshal", "shelve")
    assert _users("pickle", "pickle5", *loaders, "pd.read_pickle", "pandas.read_pickle") == []


def test_no_text_is_run_as_code() -> None:
    assert _users("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load") == []


def test_no_shell_is_started() -> None:
    shells = [
        str(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert shells == []


def test_every_template_escapes_what_it_is_given() -> None:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("Environment", "Template"):
                if "jinja2" not in ast.unparse(tree):
                    continue
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                escaping = options.get("autoescape", "False")
                assert escaping == "True" or "select_autoescape" in escaping, f"{path}: {ast.unparse(node)}"


def test_only_what_is_made_here_is_marked_as_safe() -> None:
    """`Markup` goes around the escaping: files of the package, and JSON that cannot end its element."""
    safe = {"_text", "_json", "_packed_viewer", "source"}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Markup":
                (argument,) = node.args
                made_by = ast.unparse(argument.func if isinstance(argument, ast.Call) else argument)
                assert made_by in safe, f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", sorted(str(path) for path in TREES))
def test_every_download_goes_through_a_checksum(path: str) -> None:
    users = {
        name for name in _names(TREES[Path(path)]) if name.startswith(("requests.get", "urllib.request", "urlopen"))
    }
    assert users == set()
