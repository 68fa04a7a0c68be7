"""Atomic writing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lodbrain.errors import OutputError
from lodbrain.system.atomic import atomic, write_text
from lodbrain.system.atomic import atomic as atomic_in_module


def only_file(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.name


def test_both_names_are_one_function():
    assert atomic is atomic_in_module


@pytest.mark.parametrize("old", [None, "old"])
def test_new_content_replaces_the_old(old, tmp_path):
    target = tmp_path / "out.tsv"
    if old is not None:
        target.write_text(old)
    with atomic(target) as temporary:
        temporary.write_text("new")
        assert target.exists() == (old is not None)
    assert target.read_text() == "new"
    assert only_file(tmp_path) == "out.tsv"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_exception_leaves_the_old_file_and_no_temporary(error, tmp_path):
    target = tmp_path / "out.tsv"
    target.write_text("old")
    with pytest.raises(error), atomic(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert only_file(tmp_path) == "out.tsv"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "not-writable"),
        (errno.EACCES, "not-writable"),
    ],
)
def test_full_or_locked_disk_is_an_output_error_and_nothing_is_left(number, code, tmp_path):
    with pytest.raises(OutputError) as caught, atomic(tmp_path / "out.tsv") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code
    assert caught.value.exit_code == 6
    assert not list(tmp_path.iterdir())


def test_error_about_another_file_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "out.tsv"):
        (tmp_path / "input.tsv").read_text()
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError) as caught, atomic(tmp_path / "none" / "out.tsv"):
        pass
    assert caught.value.code == "not-writable"


def test_folder_in_the_files_place_is_an_output_error(tmp_path):
    (tmp_path / "out.tsv").mkdir()
    with pytest.raises(OutputError), atomic(tmp_path / "out.tsv"):
        pass
    assert only_file(tmp_path) == "out.tsv"


def test_temporary_lies_beside_the_target_and_ends_like_it(tmp_path):
    with atomic(tmp_path / "sub-1.5_dseg.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")


def test_longest_names_are_accepted(tmp_path):
    target = tmp_path / ("x" * 251 + ".nii")
    with atomic(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_link_is_replaced_and_what_it_pointed_to_kept(tmp_path):
    (tmp_path / "precious").write_text("old")
    (tmp_path / "out").symlink_to("precious")
    with atomic(tmp_path / "out") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "out").is_symlink()


KILLED = """
import sys, time
from lodbrain.system.atomic import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_kill_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "out.tsv"
    target.write_text("old")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"


def test_text_is_written_in_utf_8_with_its_own_line_ends(tmp_path):
    write_text(tmp_path / "names.tsv", "Größe\r\nmm³\n")
    assert (tmp_path / "names.tsv").read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\r\nmm\xc2\xb3\n"
    assert only_file(tmp_path) == "names.tsv"
