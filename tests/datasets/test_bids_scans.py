import json
import os
from pathlib import Path

import pytest

from lodbrain.datasets.bids_scans import Choice, find_bids_scans, labels, read_filter, scan_at
from lodbrain.errors import InputError, UsageError


def tree(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"scan")
    return root


def stems(root: Path, choice: Choice | None = None) -> list[str]:
    return [scan.stem for scan in find_bids_scans(root, choice).scans]


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    return tree(
        tmp_path / "data.set",
        "dataset_description.json",
        "sub-01/anat/sub-01_acq-a_run-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-a_run-02_T1w.nii",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_UNIT1.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_inv-1_MP2RAGE.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1map.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_part-mag_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_part-phase_T1w.nii.gz",
        "sub-03/func/sub-03_task-rest_bold.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_T1w.nii.gz",
    )


def test_t1w_like_scans_of_all_runs_and_sessions_are_found(data_set: Path) -> None:
    found = find_bids_scans(data_set)
    assert [scan.relative for scan in found.scans] == [
        "sub-01/anat/sub-01_acq-a_run-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-a_run-02_T1w.nii",
        "sub-02/ses-1/anat/sub-02_ses-1_UNIT1.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_part-mag_T1w.nii.gz",
    ]
    assert [scan.path for scan in found.scans] == [data_set / scan.relative for scan in found.scans]
    assert {scan.problem for scan in found.scans} == {None}
    assert found.without == ("sub-03",)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_seg-lodbrain_desc-T1w"),
        ("sub-01_ses-1_acq-a_ce-gd_rec-n_run-2_echo-1_part-mag_chunk-3_T1w.nii",
         "sub-01_ses-1_acq-a_ce-gd_rec-n_run-2_echo-1_part-mag_chunk-3_seg-lodbrain_desc-T1w"),
        ("sub-01_UNIT1.nii.gz", "sub-01_seg-lodbrain_desc-UNIT1"),
        ("sub-01_space-T1w_res-2_desc-preproc_T1w.nii.gz",
         "sub-01_space-T1w_seg-lodbrain_res-2_desc-preprocT1w"),
    ],
)  # fmt: skip
def test_results_are_named_in_the_order_of_bids(name: str, stem: str) -> None:
    assert scan_at(name).stem == stem


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(participants=("02",), sessions=("2",)), ["ses-2_part-mag_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"run": 1}), ["acq-a_run-01_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"run": [2, 3]}), ["acq-a_run-02_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"acquisition": "*", "extension": ".nii.gz"}), ["acq-a_run-01_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"acquisition": None, "suffix": "T1w"}), ["ses-2_part-mag_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"suffix": "T2w"}), ["seg-lodbrain_desc-T2w"]),
        (Choice(filters={"part": "phase"}), ["ses-2_part-phase_seg-lodbrain_desc-T1w"]),
        (Choice(filters={"session": ["1"]}), ["ses-1_seg-lodbrain_desc-UNIT1"]),
    ],
)
def test_participants_sessions_and_filters_choose(data_set: Path, choice: Choice, expected: list[str]) -> None:
    assert [stem.split("_", 1)[1] for stem in stems(data_set, choice)] == expected


def test_a_participant_asked_for_by_name_who_is_not_there_is_a_failed_scan(data_set: Path) -> None:
    found = find_bids_scans(data_set, Choice(participants=("01", "03", "99")))
    problems = [scan.problem.code if scan.problem else None for scan in found.scans]
    assert problems == [None, None, "no-scan", "no-participant"]
    assert found.without == ()


def test_broken_annex_links_are_listed_with_what_to_do(data_set: Path) -> None:
    link = data_set / "sub-01" / "anat" / "sub-01_run-3_T1w.nii.gz"
    link.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--c.nii.gz/MD5E-s1--c.nii.gz")
    (data_set / "sub-01" / "anat" / "sub-01_run-4_T1w.nii.gz").symlink_to("nowhere.nii.gz")
    scans = {scan.entities.get("run"): scan for scan in find_bids_scans(data_set).scans}
    assert str(scans["3"].problem) == (f"{link}: its content is not here (a git-annex link). Run: datalad get {link}")
    assert "this link points to no file" in str(scans["4"].problem)


def test_links_in_circles_add_nothing(data_set: Path) -> None:
    before = stems(data_set)
    (data_set / "sub-01" / "loop").symlink_to("..")
    (data_set / "sub-02" / "ses-3").symlink_to("ses-3")
    (data_set / "sub-04").symlink_to("sub-04")
    found = find_bids_scans(data_set)
    assert [scan.stem for scan in found.scans] == before
    assert found.without == ("sub-03", "sub-04")


def test_a_scan_of_another_participants_name_is_refused(data_set: Path) -> None:
    (data_set / "sub-05").symlink_to("sub-01")
    problems = [scan.problem for scan in find_bids_scans(data_set, Choice(participants=("05",))).scans]
    assert ["its name says sub-01, its folder sub-05" in str(problem) for problem in problems] == [True, True]


@pytest.mark.parametrize("label", ["../../x", "", "a_b", "sub-../x", "a b"])
def test_labels_that_are_no_labels_are_wrong_usage(label: str) -> None:
    with pytest.raises(UsageError, match="no label of BIDS"):
        labels([label], "sub")


def test_a_folder_without_participants_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no participants"):
        find_bids_scans(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_bids_scans(tmp_path / "gone")


def test_a_filter_file_of_fmriprep_is_read(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"bold": {"task": "rest"}, "t1w": {"session": "01", "acq": None, "suffix": "T1w"}}))
    assert read_filter(path) == {"session": "01", "acquisition": None, "suffix": "T1w"}
    path.write_text("{}")
    assert read_filter(path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no filter"),
        ('{"t1w": {"colour": "red"}}', "no entity 'colour'"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_filter_file_is_wrong_usage(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_filter(path)
    assert os.fspath(path) in str(caught.value)


def test_of_a_scan_and_its_copy_in_another_space_the_native_one_is_taken(tmp_path: Path) -> None:
    anat = tmp_path / "sub-01" / "anat"
    anat.mkdir(parents=True)
    native = "sub-01_desc-preproc_T1w.nii.gz"
    copy = "sub-01_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz"
    for name in (native, copy, "sub-01_run-2_space-MNI152NLin6Asym_T1w.nii.gz"):
        (anat / name).touch()
    found = find_bids_scans(tmp_path)
    # run 2 is there in MNI space only
    assert [scan.path.name for scan in found.scans] == [native, "sub-01_run-2_space-MNI152NLin6Asym_T1w.nii.gz"]
    assert [(one.path.name, other.path.name) for one, other in found.copies] == [(copy, native)]
    chosen = find_bids_scans(tmp_path, Choice(filters={"space": "MNI152NLin2009cAsym"}))
    assert [scan.path.name for scan in chosen.scans] == [copy]
