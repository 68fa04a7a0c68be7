from pathlib import Path

import pytest

from lodbrain.datasets.labelled import Labelled, read_bids, read_manifest
from lodbrain.errors import InputError, UsageError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_paths_of_a_manifest_count_from_its_folder(tmp_path: Path) -> None:
    _touch(tmp_path / "a.nii.gz", tmp_path / "sub" / "a_seg.nii.gz", tmp_path / "b.mgz")
    (tmp_path / "m.csv").write_text(
        f"volume,labels,site\na.nii.gz, sub/a_seg.nii.gz, one\n{tmp_path}/b.mgz,a.nii.gz,\n"
    )
    assert read_manifest(tmp_path / "m.csv") == (
        Labelled(tmp_path / "a.nii.gz", tmp_path / "sub" / "a_seg.nii.gz", "one"),
        Labelled(tmp_path / "b.mgz", tmp_path / "a.nii.gz", "all"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none"),
        ("volume,site\n", "has the columns volume, site"),
        ("volume,labels,scanner\n", "has the columns volume, labels, scanner"),
        ("volume,labels,site\n", "lists no scans"),
        ("volume,labels,site\na.nii.gz,\n", "line 2 does not fit"),
        ("volume,labels\na.nii.gz,a.nii.gz,x,y\n", "line 2 does not fit"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    _touch(tmp_path / "a.nii.gz")
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_missing_file_is_named_with_its_line(tmp_path: Path) -> None:
    _touch(tmp_path / "a.nii.gz")
    (tmp_path / "m.csv").write_text("volume,labels\na.nii.gz,a.nii.gz\na.nii.gz,b.nii.gz\n")
    with pytest.raises(InputError, match=r"b\.nii\.gz.*line 3 of m\.csv"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(UsageError, match=r"none\.csv.*cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_bids_scans_are_paired_with_label_maps_and_sites(tmp_path: Path) -> None:
    one, two = tmp_path / "sub-01" / "anat", tmp_path / "sub-02" / "ses-a" / "anat"
    maps = tmp_path / "derivatives" / "hand" / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    _touch(one / "sub-01_T1w.nii.gz", one / "sub-01_T2w.nii.gz", maps)
    _touch(two / "sub-02_ses-a_T1w.nii", two / "sub-02_ses-a_desc-fs_dseg.nii.gz")
    _touch(tmp_path / "sub-03" / "anat" / "sub-03_T1w.nii.gz")  # without labels
    _touch(tmp_path / "derivatives" / "sub-01" / "anat" / "sub-01_space-MNI_dseg.nii.gz")  # on another grid
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\tage\nsub-01\tnorth\t30\nsub-03\tsouth\t20\n")
    assert read_bids(tmp_path) == (
        Labelled(one / "sub-01_T1w.nii.gz", maps, "north"),
        Labelled(two / "sub-02_ses-a_T1w.nii", two / "sub-02_ses-a_desc-fs_dseg.nii.gz", "all"),
    )


def test_label_map_of_another_run_is_not_taken_and_one_of_structures_is_preferred(tmp_path: Path) -> None:
    anat, made = tmp_path / "sub-01" / "anat", tmp_path / "derivatives" / "lodbrain" / "sub-01" / "anat"
    runs = [anat / f"sub-01{run}_T1w.nii.gz" for run in ("", "_run-2")]
    _touch(*runs, made / "sub-01_run-2_dseg.nii.gz", made / "sub-01_run-2_seg-lodbrain_desc-T1w_dseg.nii.gz")
    assert read_bids(tmp_path) == (Labelled(runs[1], made / "sub-01_run-2_seg-lodbrain_desc-T1w_dseg.nii.gz", "all"),)


def test_bids_without_labels_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    with pytest.raises(InputError, match="holds no T1w scan with a label map"):
        read_bids(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        read_bids(tmp_path / "none")
