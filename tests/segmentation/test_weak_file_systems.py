"""File systems that lack locks, sync, rename or chmod: the result is there, with a note."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lodbrain.datasets import transfer
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.outputs import Outputs
from lodbrain.system.atomic import write_text

fcntl = pytest.importorskip("fcntl")

FILES = ["scan_dseg.json", "scan_dseg.nii.gz", "scan_dseg.tsv", "scan_volumes.tsv"]


def failing(number: int) -> Callable[..., None]:
    def call(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_the_result_is_there_with_a_note(
    number: int, fake_model: Any, write_scan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(number))
    out = tmp_path / "out"
    segment_file(write_scan(), out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert "no locks" in json.loads((out / "scan_dseg.json").read_text())["notes"][-1]


def test_without_locks_two_processes_do_not_touch_each_others_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    outputs = Outputs(tmp_path, "s")
    with outputs.claimed() as one, outputs.claimed() as other:
        assert one != other
        (one / "dseg.json").write_text("one")
    assert list(tmp_path.iterdir()) == []


def test_inode_numbers_that_change_at_each_look_do_not_hang_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def changing(self: Path, **options: Any) -> os.stat_result:
        values = list(stat(self, **options))
        values[1] += 1  # st_ino
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", changing)
    outputs = Outputs(tmp_path, "s")
    with outputs.claimed() as work:
        assert "no locks" in outputs.weaker(work)[0]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS])
def test_without_sync_the_result_is_there_with_a_note(
    number: int, fake_model: Any, write_scan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    out = tmp_path / "out"
    segment_file(write_scan(), out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert "cannot sync" in json.loads((out / "scan_dseg.json").read_text())["notes"][-1]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EPERM])
def test_without_rename_files_are_copied(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("old")
    (tmp_path / "out").symlink_to("precious")
    monkeypatch.setattr(os, "replace", failing(number))
    write_text(tmp_path / "out", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]
    assert ((tmp_path / "out").read_text(), (tmp_path / "precious").read_text()) == ("new", "old")


def test_a_download_needs_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with transfer._locked(tmp_path / "part", tmp_path / "target") as file:
        assert file.write(b"x") == 1


def test_a_model_is_saved_without_chmod_and_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lodbrain.models import zoo

    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    zoo.save(tmp_path / "m.safetensors", zoo.card("default"), {"weight": torch.ones(2)})
    assert load_file(tmp_path / "m.safetensors")["weight"].tolist() == [1, 1]


LACKING = """
    import errno, fcntl, os
    rename = os.replace
    def no(*args, **options):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")
    fcntl.flock = os.fsync = os.replace = os.chmod = os.link = no
"""


def test_the_command_gives_its_result_where_nothing_is_supported(head_4mm: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(LACKING))
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    command = [
        sys.executable,
        "-m",
        "lodbrain",
        "segment",
        str(head_4mm),
        "-o",
        str(tmp_path / "out"),
        "--threads",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        name.replace("scan", "head") for name in FILES
    ]
    notes = json.loads((tmp_path / "out" / "head_dseg.json").read_text())["notes"]
    assert [word for word in ("no locks", "cannot sync") if any(word in note for note in notes)] == [
        "no locks",
        "cannot sync",
    ]
