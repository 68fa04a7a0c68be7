import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from local_web import Answer, Web

from lodbrain.datasets import openneuro
from lodbrain.datasets.manifest import NAME
from lodbrain.datasets.openneuro import HEAD, FetchedDataset, Selection, fetch_dataset, fetch_head
from lodbrain.errors import InputError, OutputError, UsageError, WeightsError
from lodbrain.system.http import Client

from .bucket import Bucket, Fault, tree


def test_head_is_pinned_to_one_version_and_checksum() -> None:
    assert re.search(r"/ds002014/sub-01/anat/sub-01_T1w\.nii\.gz\?versionId=\w{32}$", HEAD.url)
    assert re.fullmatch(r"md5:[0-9a-f]{32}", HEAD.checksum)


def test_head_is_kept_in_the_cache(web: Web, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The MD5 of no bytes at all.
    monkeypatch.setattr(
        openneuro, "HEAD", replace(HEAD, url=f"{web.url}/head", checksum="md5:d41d8cd98f00b204e9800998ecf8427e")
    )
    web.answers["/head"] = [Answer(body=b"")]
    assert fetch_head() == own_cache / "openneuro-ds002014" / "sub-01_T1w.nii.gz"
    assert fetch_head().is_file()
    assert web.asked == ["/head"]


def test_another_file_in_place_of_the_head_is_refused(
    web: Web, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openneuro, "HEAD", replace(HEAD, url=f"{web.url}/head"))
    web.answers["/head"] = [Answer(body=b"not a head")]
    with pytest.raises(WeightsError, match="is not the published file"):
        fetch_head()


@pytest.mark.network
def test_published_head_has_the_checksum_we_name(own_cache: Path) -> None:
    assert fetch_head().stat().st_size == 14_688_052


TOP = {name for name in tree() if "/" not in name}


def fetch(bucket: Bucket, folder: Path, selection: Selection | None = None, **options: object) -> FetchedDataset:
    client = Client(sleep=lambda seconds: None, attempts=3)
    return fetch_dataset("ds005216", folder, selection, bucket_url=bucket.url, client=client, **options)  # type: ignore[arg-type]


def files_in(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_dataset_comes_as_it_is_laid_out_without_derivatives(bucket: Bucket, tmp_path: Path) -> None:
    bucket.page = 4
    done = fetch(bucket, tmp_path / "out", version="1.1.0")
    expected = {name: body for name, body in tree().items() if not name.startswith("derivatives")}
    found = files_in(tmp_path / "out")
    manifest = json.loads(found.pop(NAME))
    assert found == expected
    assert (done.version, done.exit_code, {file.status for file in done.files}) == ("1.1.0", 0, {"downloaded"})
    assert manifest["dataset"]["evidence"] == "CHANGES says 1.1.0; DatasetDOI says 1.1.0"
    entry = manifest["files"]["participants.tsv"]
    assert (entry["size"], entry["verified"], entry["version_id"]) == (15, "md5", "v-s.tsv")
    assert set(manifest["files"]) == set(expected)


def test_subjects_and_patterns_narrow_it_down(bucket: Bucket, tmp_path: Path) -> None:
    done = fetch(bucket, tmp_path, Selection(("sub-3", "9"), ("*_T1w.nii", "derivatives/manual_segmentation/*")))
    wanted = {f"sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.nii" for n in (3, 9)}
    wanted |= {f"derivatives/manual_segmentation/sub-{n}_ses-1_seg.nii" for n in (3, 9)}
    assert {file.name for file in done.files} == wanted | TOP


def test_second_call_verifies_and_downloads_nothing(bucket: Bucket, tmp_path: Path) -> None:
    fetch(bucket, tmp_path)
    before = len(bucket.asked)
    done = fetch(bucket, tmp_path)
    assert {file.status for file in done.files} == {"there"}
    assert [key for key, _ in bucket.asked[before:]] == ["", "ds005216/CHANGES", "ds005216/dataset_description.json"]


def test_one_file_that_fails_does_not_stop_the_others_and_the_next_call_goes_on(bucket: Bucket, tmp_path: Path) -> None:
    bad = "sub-3/ses-1/anat/sub-3_ses-1_T1w.nii"
    bucket.faults[f"ds005216/{bad}"] = [Fault(cut_after=20_000), Fault(503), Fault(503)]
    done = fetch(bucket, tmp_path)
    assert done.exit_code == 3
    assert [file.name for file in done.files if file.status == "failed"] == [bad]
    assert not (tmp_path / bad).exists()
    again = fetch(bucket, tmp_path)
    assert (again.exit_code, [f.name for f in again.files if f.status == "downloaded"]) == (0, [bad])
    assert bucket.asked[-1] == (f"ds005216/{bad}", "bytes=16384-")
    assert (tmp_path / bad).read_bytes() == tree()[bad]


def test_changed_file_is_refused_and_left_alone(bucket: Bucket, tmp_path: Path) -> None:
    bucket.multipart = {"ds005216/participants.tsv"}  # no MD5: only the record knows
    fetch(bucket, tmp_path)
    (tmp_path / "participants.tsv").write_bytes(b"x" * 15)
    done = fetch(bucket, tmp_path)
    (failed,) = (file for file in done.files if file.status == "failed")
    assert str(failed.error).startswith(
        f"{tmp_path / 'participants.tsv'}: exists already and is not the published file"
    )
    assert (tmp_path / "participants.tsv").read_bytes() == b"x" * 15


@pytest.mark.parametrize("name", ["../evil", "sub-3/../../evil", "/evil", "sub-3/a\\..\\b"])
def test_names_that_leave_the_folder_are_refused_and_the_rest_comes(name: str, bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects[f"ds005216/{name}"] = b"evil"
    done = fetch(bucket, tmp_path / "a" / "out", Selection(patterns=("*",)))
    assert [file.name for file in done.files if file.status == "failed"] == [name]
    assert done.exit_code == 3
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))
    assert os.listdir(tmp_path) == ["a"]


def test_another_version_is_refused_before_any_file(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds version 1\.1\.0, not 1\.0\.0"):
        fetch(bucket, tmp_path / "out", version="1.0.0")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("selection", "why"),
    [(Selection(("99",)), "no file matches"), (Selection(patterns=("*.mgz",)), "no file matches")],
)
def test_nothing_selected_says_what_there_is(selection: Selection, why: str, bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why) as caught:
        fetch(bucket, tmp_path, selection)
    assert "derivatives/brainmasks/sub-30_ses-1_brainmask.nii" in caught.value.hint


def test_unknown_dataset_and_odd_accessions_are_refused(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no such dataset"):
        fetch_dataset("ds999999", tmp_path, bucket_url=bucket.url)
    with pytest.raises(UsageError, match="is no accession of OpenNeuro"):
        fetch_dataset("ds005216/../ds000001", tmp_path, bucket_url=bucket.url)


def test_full_disk_is_known_before_the_first_byte(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openneuro.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(OutputError, match="GB are free"):
        fetch(bucket, tmp_path)
    assert os.listdir(tmp_path) == []


def test_progress_grows_to_one(bucket: Bucket, tmp_path: Path) -> None:
    told: list[float] = []
    fetch(bucket, tmp_path, progress=lambda share, text: told.append(share))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)
