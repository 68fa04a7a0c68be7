import hashlib
import os
from pathlib import Path

import pytest

from lodbrain.datasets.manifest import Entry
from lodbrain.datasets.s3 import S3Object
from lodbrain.datasets.transfer import transfer
from lodbrain.errors import InputError, OutputError
from lodbrain.system.http import Client

from .bucket import Bucket, Fault

KEY = "ds005216/sub-3/ses-1/anat/sub-3_ses-1_T1w.nii"


def source(bucket: Bucket, key: str = KEY) -> S3Object:
    return S3Object(key, len(bucket.objects[key]), bucket.etag(key), f"{bucket.url}/{key}")


def client(slept: list[float] | None = None, **options: float) -> Client:
    return Client(sleep=slept.append if slept is not None else lambda seconds: None, **options)  # type: ignore[arg-type]


def test_file_comes_whole_into_a_new_folder_with_its_hashes(bucket: Bucket, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.nii"
    with client() as web:
        receipt = transfer(web, source(bucket), target)
    body = bucket.objects[KEY]
    assert target.read_bytes() == body
    assert os.listdir(target.parent) == ["b.nii"]
    md5 = hashlib.md5(body).hexdigest()
    assert receipt == Entry(len(body), hashlib.sha256(body).hexdigest(), md5, md5, "v-w.nii"[:7], "md5")


@pytest.mark.parametrize(("cut", "kept"), [(16384, 16384), (40_000, 32768)])
def test_what_breaks_off_goes_on_from_there_in_the_same_call(
    cut: int, kept: int, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.faults[KEY] = [Fault(cut_after=cut)]
    with client() as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert bucket.asked == [(KEY, ""), (KEY, f"bytes={kept}-")]
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]


def test_what_stalls_goes_on_after_the_time_limit(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(stall_after=20_000)]
    with client(timeout_s=0.2) as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert [span for _, span in bucket.asked] == ["", "bytes=16384-"]
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]


def test_what_always_breaks_off_is_kept_hidden_and_the_next_call_goes_on(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(cut_after=20_000), Fault(503), Fault(503)]
    with client(attempts=3) as web, pytest.raises(InputError, match=r"HTTP 503.*resumes at 16384 of 72000 bytes"):
        transfer(web, source(bucket), tmp_path / "b.nii")
    (left,) = tmp_path.iterdir()
    assert (left.name[:10], left.suffix, left.stat().st_size) == (".lodbrain-", ".part", 16384)
    with client() as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert bucket.asked[-1] == (KEY, "bytes=16384-")
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]
    assert os.listdir(tmp_path) == ["b.nii"]


def test_server_that_cannot_resume_starts_again(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(cut_after=20_000), Fault(ignore_range=True)]
    with client() as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]


def test_part_of_another_state_of_the_file_is_not_gone_on_with(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(cut_after=20_000)]
    with client(attempts=1) as web, pytest.raises(InputError):
        transfer(web, source(bucket), tmp_path / "b.nii")
    bucket.objects[KEY] = bucket.objects[KEY][::-1]
    with client() as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert bucket.asked[-1] == (KEY, "")
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]


@pytest.mark.parametrize("body", [b"x" * 100, b"x" * 99_999], ids=["short", "long"])
def test_wrong_length_is_not_kept(body: bytes, bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(body=body)] * 3
    with client(attempts=3) as web, pytest.raises(InputError, match=f"would send {len(body)} bytes where its listing"):
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]
    assert len(bucket.asked) == 3


def test_wrong_content_of_the_right_length_is_not_kept(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults[KEY] = [Fault(body=b"x" * len(bucket.objects[KEY]))]
    with client() as web, pytest.raises(InputError, match="is not what its listing says") as caught:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert caught.value.code == "checksum"
    assert os.listdir(tmp_path) == []


def test_pauses_double_are_bounded_and_follow_the_server(bucket: Bucket, tmp_path: Path) -> None:
    late = "Fri, 01 Jan 2100 00:00:00 GMT"
    bucket.faults[KEY] = [Fault(503), Fault(500), Fault(429, "7"), Fault(503, late), Fault(503, "soon")]
    slept: list[float] = []
    with client(slept, attempts=9) as web:
        transfer(web, source(bucket), tmp_path / "b.nii")
    assert slept == [1.0, 2.0, 7.0, 120.0, 16.0]


def test_absent_file_is_not_asked_for_twice(bucket: Bucket, tmp_path: Path) -> None:
    gone = S3Object("gone", 10, "e", f"{bucket.url}/gone")
    with client() as web, pytest.raises(InputError, match=r"HTTP 404"):
        transfer(web, gone, tmp_path / "b.nii")
    assert bucket.asked == [("gone", "")]
    assert not (tmp_path / "b.nii").exists()


def test_object_of_several_parts_is_checked_by_its_size_alone_and_says_so(bucket: Bucket, tmp_path: Path) -> None:
    with client() as web:
        receipt = transfer(
            web, S3Object(KEY, len(bucket.objects[KEY]), "x-2", f"{bucket.url}/{KEY}"), tmp_path / "b.nii"
        )
    assert receipt.verified == "size"


def test_two_at_once_do_not_mix(bucket: Bucket, tmp_path: Path) -> None:
    inner: list[InputError] = []

    def again(size: int) -> None:
        with client() as other, pytest.raises(InputError, match="another process") as caught:
            transfer(other, source(bucket), tmp_path / "b.nii")
        inner.append(caught.value)

    with client() as web:
        transfer(web, source(bucket), tmp_path / "b.nii", progress=again)
    assert {error.code for error in inner} == {"in-use"}
    assert (tmp_path / "b.nii").read_bytes() == bucket.objects[KEY]


def test_folder_that_cannot_be_made_is_an_output_error(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with client() as web, pytest.raises(OutputError, match="cannot be written"):
        transfer(web, source(bucket), tmp_path / "file" / "b.nii")
