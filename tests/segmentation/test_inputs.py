import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lodbrain.errors import UsageError
from lodbrain.segmentation.inputs import find_scans, scan_of, stem_of


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
        "a_differ.nii.gz",
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


@pytest.mark.parametrize("given", [["x/a.nii", "x/a.nii.gz"], ["x"], ["x/*.nii*"], ["x", "y"]])
def test_two_scans_of_one_stem_in_one_folder_are_wrong_usage(given: list[str], tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.nii", tmp_path / "x" / "a.nii.gz", tmp_path / "y" / "a.nii.gz")
    with pytest.raises(UsageError, match=r"same names as those of .*x/a\.nii\.? ") as caught:
        find_scans([tmp_path / name for name in given])
    assert caught.value.code == "same-stem"


def folders(*inputs: Path) -> list[tuple[str, str]]:
    return [(scan.path.name, scan.folder.as_posix()) for scan in find_scans(inputs)]


def test_scans_of_one_stem_in_several_folders_mirror_the_folders_below_the_common_parent(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("s1/anat/T1.mgz", "s2/anat/T1.mgz", "s2/other.nii")))
    expected = [("T1.mgz", "s1/anat"), ("T1.mgz", "s2/anat")]
    assert folders(tmp_path / "in" / "*" / "anat" / "T1.mgz") == expected
    # a scan of another stem is mirrored, too: one rule for all
    assert folders(tmp_path / "in") == [*expected, ("other.nii", "s2")]
    assert folders(tmp_path / "in/s1/anat/T1.mgz", tmp_path / "in/s2/anat/../anat/T1.mgz") == expected


def test_one_scan_in_the_common_parent_itself_has_no_folder(tmp_path: Path) -> None:
    touch(tmp_path / "T1.nii", tmp_path / "old" / "T1.nii.gz")
    assert folders(tmp_path) == [("T1.nii", "."), ("T1.nii.gz", "old")]


def test_scans_of_different_stems_keep_one_folder(tmp_path: Path) -> None:
    touch(tmp_path / "s1" / "a.nii", tmp_path / "s2" / "b.nii")
    assert folders(tmp_path) == [("a.nii", "."), ("b.nii", ".")]


def test_a_broken_link_keeps_the_places_of_the_others(tmp_path: Path) -> None:
    touch(tmp_path / "s1" / "T1.nii")
    (tmp_path / "s2").mkdir()
    (tmp_path / "s2" / "T1.nii").symlink_to(tmp_path / "annex.nii")
    before = folders(tmp_path)
    touch(tmp_path / "annex.nii")
    assert before == [("T1.nii", "s1"), ("T1.nii", "s2")] == folders(tmp_path / "s1", tmp_path / "s2")


@pytest.mark.parametrize("given", [["x/a.nii", "x/a.nii"], ["x", "x/*.nii"], ["x/a.nii", "x/../x/a.nii"], ["x", "x"]])
def test_a_scan_named_twice_is_one_scan(given: list[str], tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.nii")
    (scan,) = find_scans([tmp_path / name for name in given])
    assert (scan.path.name, scan.folder, scan.also) == ("a.nii", Path(), ())


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["a.nii", "b.nii"])
def test_a_scan_reached_through_a_link_is_one_scan(link: Callable[..., None], name: str, tmp_path: Path) -> None:
    touch(tmp_path / "in" / "z" / "a.nii")
    (tmp_path / "in" / "first").mkdir()
    link(tmp_path / "in" / "z" / "a.nii", tmp_path / "in" / "first" / name)
    (scan,) = find_scans([tmp_path / "in"])
    names = [scan.path, *scan.also]
    assert sorted(names) == [tmp_path / "in" / "first" / name, tmp_path / "in" / "z" / "a.nii"]
    if link is os.symlink:
        assert scan.path == tmp_path / "in" / "z" / "a.nii"  # the file itself, wherever the link lies


def test_both_halves_of_a_pair_are_one_scan(tmp_path: Path) -> None:
    touch(tmp_path / "a.hdr", tmp_path / "a.img")
    (scan,) = find_scans([tmp_path / "a.img", tmp_path / "a.hdr"])
    assert scan.stem == "a"


def test_files_are_told_apart_where_the_file_system_numbers_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.nii", tmp_path / "b.nii")
    real = os.stat_result
    stat = Path.stat

    def numberless(self: Path, **options: bool) -> os.stat_result:
        values = list(stat(self, **options))
        values[1] = 0  # st_ino
        return real(values)

    monkeypatch.setattr(Path, "stat", numberless)
    assert len(find_scans([tmp_path / "a.nii", tmp_path / "b.nii"])) == 2


def test_a_missing_input_is_no_clash(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    assert len(find_scans([tmp_path / "a.nii", tmp_path / "gone" / "a.nii"])) == 2


DICOM = bytes(128) + b"DICM"


@pytest.mark.parametrize(("name", "content"), [("IM0001", DICOM), ("1.dcm", b""), ("1.IMA", b""), ("DICOMDIR", b"")])
def test_a_folder_of_dicom_files_says_how_to_convert_it(name: str, content: bytes, tmp_path: Path) -> None:
    touch(tmp_path / "series" / "notes.txt")
    (tmp_path / "series" / name).write_bytes(content)
    (folder,), (file,) = find_scans([tmp_path / "series"]), find_scans([tmp_path / "series" / name])
    for scan in (folder, file):
        assert scan.problem is not None and scan.problem.code == "dicom"
        assert str(scan.problem).endswith(f"with: dcm2niix -z y -o OUT {tmp_path}/series")
    assert "there are DICOM files in this folder" in str(folder.problem)
    assert "this is DICOM" in str(file.problem)


def test_scans_beside_dicom_files_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii", tmp_path / "1.dcm")
    assert [scan.path.name for scan in find_scans([tmp_path])] == ["a.nii"]


def test_no_input_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no INPUT"):
        find_scans([])


def test_scan_of_a_file_has_no_problem(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    assert scan_of(tmp_path / "a.nii").problem is None


def test_of_a_freesurfer_subject_the_t1_is_taken_under_the_subjects_name(tmp_path: Path) -> None:
    for name in ("T1", "orig", "aseg", "norm", "orig/001"):
        path = tmp_path / "subjects" / "bert" / "mri" / f"{name}.mgz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = (tmp_path / "subjects/bert/mri/T1.mgz", "bert")
    for given in ("subjects/bert", "subjects/bert/mri", "subjects"):
        assert [(scan.path, scan.stem) for scan in find_scans([tmp_path / given])] == [expected]


def test_a_freesurfer_subject_without_t1_gives_orig_beside_other_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/mri/orig.mgz", "a/mri/aseg.mgz", "b/mri/orig.mgz", "b/mri/T1.mgz", "c/scan.nii", "c/T1.mgz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_scans([tmp_path])
    assert [scan.name for scan in found] == ["a/orig.mgz", "b/T1.mgz", "T1.mgz", "scan.nii"]
    assert [scan.stem for scan in found] == ["a", "b", "T1", "scan"]
    monkeypatch.chdir(tmp_path / "a" / "mri")
    assert [(str(scan.path), scan.stem) for scan in find_scans(["."])] == [("orig.mgz", "a")]
