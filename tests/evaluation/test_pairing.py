"""Which label map belongs to which, by the names that people and tools give."""

from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.evaluation.pairing import Pairing, pair_up


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def paired(found: Pairing, pred: Path, ref: Path) -> dict[str, tuple[str, str]]:
    return {
        pair.case: (pair.pred.relative_to(pred).as_posix(), pair.ref.relative_to(ref).as_posix())
        for pair in found.pairs
    }


@pytest.mark.parametrize(
    ("pred", "ref", "case"),
    [
        ("malc-1000_T1w_dseg.nii.gz", "malc-1000_glm.nii.gz", "malc-1000"),
        ("swm_T1w_dseg.nii.gz", "swm_aparc+aseg.nii.gz", "swm"),
        ("sub-3_ses-1_T1w_dseg.nii.gz", "sub-3_ses-1_seg.nii", "sub-3_ses-1"),
        ("sub-01/anat/sub-01_T1w_dseg.nii.gz", "sub-01/anat/sub-01_desc-aparcaseg_dseg.nii.gz", "sub-01"),
        ("derivatives/x/sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz", "sub-01_ses-2_space-T1w_dseg.nii", "sub-01_ses-2"),
        ("sub-01_T1w_dseg.nii.gz", "sub-01/mri/aparc+aseg.mgz", "sub-01"),
        ("bert/mri/aseg.mgz", "bert/mri/aparc.DKTatlas+aseg.mgz", "bert"),
        ("BRATS_001.nii.gz", "BRATS_001_0000.nii.gz", "BRATS_001"),
        ("ann_predicted.nii.gz", "ann.nii.gz", "ann"),
        ("case_7.nii.gz", "site-a/case_7.nii.gz", "site-a_case_7"),
    ],
)
def test_names_of_one_case_are_paired(tmp_path: Path, pred: str, ref: str, case: str) -> None:
    one, other = tree(tmp_path / "pred", pred), tree(tmp_path / "ref", ref)
    found = pair_up(one, other)
    assert paired(found, one, other) == {case: (pred, ref)}
    assert found.problems == found.unused == ()


def test_cases_whose_names_begin_alike_stay_apart(tmp_path: Path) -> None:
    names = ("sub-1", "sub-10", "sub-11_ses-1", "sub-11_ses-2")
    pred = tree(tmp_path / "pred", *(f"{name}_T1w_dseg.nii.gz" for name in names))
    ref = tree(tmp_path / "ref", *(f"{name}_seg.nii.gz" for name in names))
    assert {case: pair[0] for case, pair in paired(pair_up(pred, ref), pred, ref).items()} == {
        name: f"{name}_T1w_dseg.nii.gz" for name in names
    }


def test_a_scan_beside_its_labels_is_not_taken_for_them(tmp_path: Path) -> None:
    pred = tree(tmp_path / "pred", "a_T1w_dseg.nii.gz", "a_T1w_probseg.nii.gz", "a_T1w_differ.nii.gz")
    ref = tree(tmp_path / "ref", "a_T1w.nii.gz", "a_glm.nii.gz")
    assert paired(pair_up(pred, ref), pred, ref) == {"a": ("a_T1w_dseg.nii.gz", "a_glm.nii.gz")}


def test_labels_that_bear_the_scans_name_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    pred, ref = tree(tmp_path / "pred", "a_T1w.nii.gz"), tree(tmp_path / "ref", "a_glm.nii.gz")
    assert paired(pair_up(pred, ref), pred, ref) == {"a": ("a_T1w.nii.gz", "a_glm.nii.gz")}


def test_what_cannot_be_paired_is_named(tmp_path: Path) -> None:
    pred = tree(tmp_path / "pred", "a_dseg.nii.gz", "c_dseg.nii.gz")
    ref = tree(tmp_path / "ref", "a_seg.nii.gz", "b_seg.nii.gz")
    found = pair_up(pred, ref)
    assert [pair.case for pair in found.pairs] == ["a"]
    assert [problem.code for problem in found.problems] == ["no-prediction"]
    assert "b_seg.nii.gz" in str(found.problems[0])
    assert [path.name for path in found.unused] == ["c_dseg.nii.gz"]


def test_a_session_is_not_guessed(tmp_path: Path) -> None:
    pred = tree(tmp_path / "pred", "sub-1_dseg.nii.gz")
    ref = tree(tmp_path / "ref", "sub-1_ses-1_seg.nii.gz", "sub-1_ses-2_seg.nii.gz")
    found = pair_up(pred, ref)
    assert found.pairs == ()
    assert [problem.code for problem in found.problems] == ["ambiguous", "ambiguous"]


def test_several_label_maps_of_a_subject_ask_for_a_pattern(tmp_path: Path) -> None:
    pred = tree(tmp_path / "pred", "bert_dseg.nii.gz")
    ref = tree(tmp_path / "ref", "bert/mri/aseg.mgz", "bert/mri/aparc+aseg.mgz", "bert/mri/orig.mgz")
    found = pair_up(pred, ref)
    assert found.pairs == ()
    assert "aparc+aseg.mgz, aseg.mgz could all be meant. Choose with --ref-pattern" in str(found.problems[0])
    found = pair_up(pred, ref, ref_pattern="*/mri/aparc+aseg.mgz")
    assert paired(found, pred, ref) == {"bert": ("bert_dseg.nii.gz", "bert/mri/aparc+aseg.mgz")}


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    folder = tree(tmp_path, "mine.nii.gz", "truth_seg.nii.gz")
    (pair,) = pair_up(folder / "mine.nii.gz", folder / "truth_seg.nii.gz").pairs
    assert pair.case == "truth"


def test_nothing_there_is_said(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.txt", "b/a_seg.nii")
    with pytest.raises(InputError, match="no label map in this folder"):
        pair_up(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="that fits"):
        pair_up(tmp_path / "b", tmp_path / "b", pred_pattern="*_dseg*")
    with pytest.raises(InputError, match="no such file or folder"):
        pair_up(tmp_path / "none", tmp_path / "b")
