from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lodbrain.datasets.ultracortex import LABELS, SCANS, fetch_ultracortex, find_cases, trained_on
from lodbrain.errors import InputError, UsageError
from lodbrain.models.zoo import cards
from lodbrain.system.http import Client

from .bucket import Bucket, tree


def test_twelve_scans_are_the_published_ones() -> None:
    assert [int(scan.subject) for scan in sorted(SCANS, key=lambda scan: int(scan.subject))] == [
        *(3, 9, 20, 29, 37, 44, 45, 46, 57, 69, 70, 73)
    ]
    assert [scan.subject for scan in SCANS if scan.voxel_mm == 0.8] == ["29"]
    assert {scan.subject for scan in SCANS if scan.sequence == "MP-RAGE"} == {"37", "45", "57"}
    assert set(LABELS) == {2, 3, 41, 42}


def test_fetch_takes_test_scans_and_manual_labels_only(bucket: Bucket, tmp_path: Path) -> None:
    done = fetch_ultracortex(tmp_path, bucket_url=bucket.url, client=Client(sleep=lambda seconds: None))
    names = {file.name for file in done.files if "/" in file.name}
    assert names == {
        name.format(n=n)
        for n in (3, 9)  # 30 is none of the twelve
        for name in (
            "sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.nii",
            "sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.json",
            "derivatives/manual_segmentation/sub-{n}_ses-1_seg.nii",
        )
    }
    assert [case.subject for case in find_cases(tmp_path)] == ["3", "9"]


def test_other_subjects_come_with_all_their_scans(bucket: Bucket, tmp_path: Path) -> None:
    done = fetch_ultracortex(tmp_path, subjects=("30",), bucket_url=bucket.url)
    assert {file.name for file in done.files if "/" in file.name} == {
        f"sub-30/ses-1/anat/sub-30_ses-1_T1w.{ending}" for ending in ("nii", "json")
    }


def test_version_with_duplicates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sub-62_ses-2 are copies of other scans"):
        fetch_ultracortex(tmp_path, version="1.0.0")


def plant(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_cases_are_paired_and_sorted_by_number(tmp_path: Path) -> None:
    plant(tmp_path, *tree(subjects=("20", "3", "900")))
    cases = find_cases(tmp_path)
    assert [case.subject for case in cases] == ["3", "20", "900"]
    assert cases[0].scan == tmp_path / "sub-3/ses-1/anat/sub-3_ses-1_T1w.nii"
    assert [case.published is not None for case in cases] == [True, True, False]


def test_duplicates_missing_scans_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manual labels"):
        find_cases(tmp_path)
    plant(tmp_path, "derivatives/manual_segmentation/sub-3_ses-1_seg.nii.gz")
    with pytest.raises(InputError, match=r"its scan sub-3_ses-1_T1w\.nii is not there"):
        find_cases(tmp_path)
    plant(tmp_path / "old", "derivatives/manual_segmentation/sub-3_ses-3_seg.nii")
    with pytest.raises(InputError, match="a copy of another one"):
        find_cases(tmp_path / "old")


@pytest.mark.parametrize(
    ("training", "seen"),
    [
        ({"data": "synthetic scans only"}, ()),
        ({"data": ["UltraCortex sub-3", "and sub-041"]}, ("3",)),
        ({"subjects": ["sub-03_ses-1_T1w"], "from": "ds005216"}, ("3",)),
        ({"data": "ultra-cortex sub-30, sub-31"}, ()),
        ({"data": "OASIS and UltraCortex"}, ("3", "9")),
        ({"data": "OASIS sub-3"}, ()),
    ],
)
def test_card_that_lists_a_test_subject_is_found_out(training: dict[str, Any], seen: tuple[str, ...]) -> None:
    card: Any = SimpleNamespace(training=training)
    assert trained_on(card, ("3", "9")) == seen


def test_shipped_models_have_not_seen_them() -> None:
    subjects = tuple(scan.subject for scan in SCANS)
    assert {name: trained_on(card, subjects) for name, card in cards().items()} == dict.fromkeys(
        ("accurate", "any-contrast", "default", "lod-brain-2024"), ()
    )
