"""The documentation does what it says: its snippets run, its examples give what they show, and the site builds."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lodbrain
from lodbrain import commands
from lodbrain.images import Image, read_image, to_ras
from lodbrain.images.io import write_image

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md"))
FENCE = re.compile(
    r"(?P<run><!-- run -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
RUN = [page for page in PAGES if "<!-- run -->" in page.read_text(encoding="utf-8")]

MODULES = sorted(
    found.name for found in pkgutil.walk_packages(lodbrain.__path__, "lodbrain.") if "__main__" not in found.name
)

#: A call of lodbrain: a line of a fenced block of bash, or of an indented block.
CALL = re.compile(r"^lodbrain ([^|\n]+?)(?: 2>&1)?(?: \|.*)?$", re.MULTILINE)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name)
def test_python_in_the_pages_is_python(page: Path) -> None:
    for block in FENCE.finditer(page.read_text(encoding="utf-8")):
        if block["language"] == "python":
            compile(block["code"], name(page), "exec")


def calls(text: str) -> list[list[str]]:
    """The words of each call of lodbrain in a page, with the options that it shows in brackets."""
    blocks = [block["code"] for block in FENCE.finditer(text) if block["language"] == "bash"]
    blocks += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found = [call[1] for block in blocks for call in CALL.finditer(block)]
    return [shlex.split(re.sub(r"\[(-[^]]*)\]", r"\1", call), comments=True) for call in found]


def test_calls_are_found_in_both_kinds_of_blocks() -> None:
    text = "```bash\nlodbrain bids A B group | sh\n```\nlodbrain is prose here.\n\n    lodbrain plan C [-n 2]  # why\n"
    assert calls(text) == [["bids", "A", "B", "group"], ["plan", "C", "-n", "2"]]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name)
def test_each_call_in_the_pages_is_one_that_lodbrain_accepts(page: Path) -> None:
    for words in calls(page.read_text(encoding="utf-8")):
        commands.app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_give_what_they_show(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "lodbrain.interfaces.nipype":
        pytest.importorskip("nipype", reason="nipype is not installed (extra nipype)")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the demo has been run, as after the tutorial."""
    folder = tmp_path_factory.mktemp("docs")
    assert commands.main(["demo", "-o", str(folder / "demo")]) == 0
    (folder / "bin").mkdir()
    command = folder / "bin" / "lodbrain"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lodbrain "$@"\n')
    command.chmod(0o755)
    if find_spec("pydicom") is not None:
        _export(folder)
    return folder


def _export(folder: Path) -> None:
    """The demo's head at 2 mm as a DICOM export, and as a FreeSurfer subject."""
    from dicom_files import FLAIR, LOCALIZER, as_slices, write_classic

    head, _ = to_ras(read_image(folder / "demo" / "icbm152_T1w.nii.gz"))
    x, y, z = (n // 2 for n in head.shape)
    data = head.data[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))
    slices = as_slices(np.rint(data / data.max() * 1000).astype(np.int16))
    write_classic(folder / "export" / "S1", slices[20:23], voxel_mm=2, series=1, header=LOCALIZER)
    write_classic(folder / "export" / "S2", slices, voxel_mm=2, series=2)
    write_classic(folder / "export" / "S3", slices, voxel_mm=2, series=3, header=FLAIR)
    (folder / "subjects" / "bert" / "mri").mkdir(parents=True)
    write_image(folder / "subjects" / "bert" / "mri" / "T1.mgz", data, Image(data, np.diag([2.0, 2, 2, 1])))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_snippets_of_a_page_run_one_after_the_other(
    page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name == "from-the-scanner.md":
        for package in ("pydicom", "highdicom", "dcm2niix"):
            pytest.importorskip(package, reason=f"{package} is not installed (extra dicom)")
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    environment = {**os.environ, "PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    blocks = [block for block in FENCE.finditer(page.read_text(encoding="utf-8")) if block["run"]]
    assert len(blocks) == page.read_text(encoding="utf-8").count("<!-- run -->")
    for block in blocks:
        if block["language"] == "python":
            exec(compile(block["code"], name(page), "exec"), names)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", block["code"]], check=True, env=environment)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is not installed (extra docs)")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "site")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        assert (tmp_path / "site" / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file()
    listed = (tmp_path / "site" / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert all(f"lodbrain {command}" in listed for command in commands.COMMANDS)
    python = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    assert "spacing_mm" in python and "volumes_table" in python
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert loaded == [], page.name
