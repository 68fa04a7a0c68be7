import os
from pathlib import Path

import pytest

from lodbrain.datasets.paths import contained
from lodbrain.errors import InputError

UNSAFE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "",
    ".",
    "a/./b",
    "a\\b",
    "C:/x",
    "a\0b",
    "a\nb",
    "nul",
    "a/COM1.txt",
]
UNSAFE += ["a ", "a.", "x" * 256, "a/<script>.nii", "\u202egnp.nii"]


@pytest.mark.parametrize("name", UNSAFE)
def test_name_that_could_leave_the_folder_or_be_no_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        contained(tmp_path, name)
    assert caught.value.code == "unsafe-name"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a", "sub-01/anat/é ü.nii.gz", "x" * 255, "..a/b..c", ".bidsignore"])
def test_name_of_a_file_is_taken_as_it_is(name: str, tmp_path: Path) -> None:
    assert contained(tmp_path, name) == tmp_path / name


def test_link_that_leaves_the_folder_is_not_gone_through(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path, tmp_path / "root" / "out")
    os.symlink(tmp_path / "root", tmp_path / "root" / "in")
    with pytest.raises(InputError):
        contained(tmp_path / "root", "out/x")
    assert contained(tmp_path / "root", "in/x") == tmp_path / "root" / "in" / "x"
