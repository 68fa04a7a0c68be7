"""No container engine runs here: the recipes are linted, and checked for what they promise."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "containers" / "Dockerfile"
APPTAINER = ROOT / "containers" / "lodbrain.def"


def hadolint(path: Path) -> str:
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip("hadolint is not installed")
    return subprocess.run([tool, "--no-color", str(path)], capture_output=True, text=True, check=False).stdout


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    assert hadolint(DOCKERFILE) == ""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace(":3.11.14-slim-bookworm", ":latest"))
    assert "DL3007" in hadolint(tmp_path / "Dockerfile")


def test_image_runs_as_nobody_special_and_is_a_bids_app() -> None:
    last = DOCKERFILE.read_text().split("\nFROM ")[-1]
    assert re.findall(r"^USER (\S+)$", last, re.M) == ["10001"]
    assert 'ENTRYPOINT ["lodbrain", "bids"]' in last
    assert last.index("USER") < last.index("ENTRYPOINT")


def test_what_the_dockerfile_copies_exists_and_passes_the_ignore_file() -> None:
    ignored = (ROOT / "containers" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.M) for name in line.split()
    ]
    assert {"constraints.txt", "pyproject.toml", "src"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists() or f"!{name}" not in ignored] == []


def test_both_recipes_pin_the_same_base_and_torch() -> None:
    docker, apptainer = DOCKERFILE.read_text(), APPTAINER.read_text()
    base = re.findall(r"^From: (\S+)$", apptainer, re.M)
    assert set(re.findall(r"^FROM (\S+)", docker, re.M)) == set(base)
    pinned = (
        f"torch=={dict(line.split('==') for line in (ROOT / 'constraints.txt').read_text().splitlines()[1:])['torch']}"
    )
    assert pinned in docker and pinned in apptainer
    for text in (docker, apptainer):
        assert "PIP_CONSTRAINT=/source/constraints.txt" in text
        assert "models verify default" in text  # the weights are inside


def test_apptainer_recipe_has_its_sections_and_files() -> None:
    text = APPTAINER.read_text()
    assert re.findall(r"^%(\w+)", text, re.M) == [
        "labels",
        "files",
        "post",
        "environment",
        "runscript",
        "apprun",
        "test",
    ]
    sources = [line.split()[0] for line in text.split("%files")[1].split("%post")[0].split("\n") if line.strip()]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert 'exec lodbrain bids "$@"' in text.split("%runscript")[1]
    for section in ("post", "environment", "runscript", "test"):
        body = text.split(f"%{section}")[1].split("\n%")[0]
        assert subprocess.run(["sh", "-n"], input=body, text=True, check=False).returncode == 0
