import os
from pathlib import Path

import pytest

from lodbrain.errors import UsageError
from lodbrain.inference.inputs import find_scans, scan_of, stem_of


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"scan")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("T1.mgz", "T1"),
        ("T1.MGH", "T1"),
        ("pair.img", "pair"),
        ("pair.hdr", "pair"),
        ("x.mgh.gz", "x"),
        ("x.img.gz", "x"),
        ("x.HDR.gz", "x"),
        ("Größe 1.5 mm.nii", "Größe 1.5 mm"),
        (".nii", ".nii"),
        ("scan.txt", "scan.txt"),
    ],
)
def test_stem_is_the_name_without_the_format(name: str, stem: str) -> None:
    assert stem_of(name) == stem


def test_folder_gives_scans_at_any_depth_but_neither_hidden_files_nor_our_outputs(tmp_path: Path) -> None:
    scans = [tmp_path / name for name in ("a.nii.gz", "b.nii", "deep/d.mgh", "deep/er/c.mgz", "x.mgh.gz")]
    others = [
        "a_dseg.nii.gz",
        "a_probseg.nii.gz",
        "._a.nii.gz",
        ".git/x.nii",
        "a.json",
        "e.img",
        "e.img.gz",
        "f.nii.gz.part",
    ]
    touch(*scans, *(tmp_path / name for name in others))
    assert [scan.path for scan in find_scans([tmp_path])] == scans


def test_folder_with_a_loop_of_links_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    assert [scan.path.name for scan in find_scans([tmp_path])] == ["a.nii"]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "far" / "a.nii")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far")
    assert [scan.path for scan in find_scans([tmp_path / "in"])] == [tmp_path / "in" / "link" / "a.nii"]


def test_glob_is_expanded_in_order_also_over_folders(tmp_path: Path) -> None:
    touch(tmp_path / "s2" / "b.nii", tmp_path / "s1" / "a.nii", tmp_path / "s1" / "notes.txt")
    assert [scan.path.name for scan in find_scans([f"{tmp_path}/s?/*.nii"])] == ["a.nii", "b.nii"]
    assert [scan.path.name for scan in find_scans([f"{tmp_path}/s*"])] == ["a.nii", "b.nii"]
    assert [scan.path.name for scan in find_scans([f"{tmp_path}/**/*.nii"])] == ["a.nii", "b.nii"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path / "a[1].nii", tmp_path / "a1.nii")
    assert [scan.path.name for scan in find_scans([tmp_path / "a[1].nii"])] == ["a[1].nii"]


def test_what_cannot_be_found_is_a_failed_input_and_stops_no_other(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    (tmp_path / "empty").mkdir()
    (tmp_path / "annex.nii").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.nii")
    given = ["a.nii", "gone.nii", "empty", "annex.nii", "pipe.nii", "x*.nii"]
    scans = find_scans([tmp_path / name for name in given])
    assert [scan.problem and scan.problem.code for scan in scans] == [
        None, "missing", "no-scans", "broken-link", "not-a-file", "no-match",
    ]  # fmt: skip
    assert "datalad get" in str(scans[3].problem)


def test_broken_links_in_a_folder_are_listed(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "nowhere")
    problems = [scan.problem and scan.problem.code for scan in find_scans([tmp_path])]
    assert problems == [None, "broken-link"]


@pytest.mark.parametrize("given", [["x/a.nii", "y/a.nii.gz"], ["x/a.nii", "x/a.nii"], ["x", "x/*.nii"], ["x", "y"]])
def test_two_inputs_of_one_stem_are_wrong_usage(given: list[str], tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.nii", tmp_path / "y" / "a.nii.gz")
    with pytest.raises(UsageError, match=r"same names as those of .*x/a\.nii") as caught:
        find_scans([tmp_path / name for name in given])
    assert caught.value.code == "same-stem"


def test_a_missing_input_collides_with_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    assert len(find_scans([tmp_path / "a.nii", tmp_path / "gone" / "a.nii"])) == 2


def test_no_input_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no INPUT"):
        find_scans([])


def test_scan_of_a_file_has_no_problem(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    assert scan_of(tmp_path / "a.nii").problem is None
