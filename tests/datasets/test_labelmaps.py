import hashlib
import os
import re
from pathlib import Path

import pytest
from local_web import Answer, Web

from lodbrain.datasets import labelmaps
from lodbrain.datasets.labelmaps import fetch_labelmaps, find_labelmaps
from lodbrain.errors import InputError, WeightsError

BODIES = {name: name.encode() for name in labelmaps.SHA256}


@pytest.fixture
def published(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """Twenty small files at `web.url` in place of the label maps."""
    monkeypatch.setattr(labelmaps, "SHA256", {name: hashlib.sha256(body).hexdigest() for name, body in BODIES.items()})
    web.answers.update({f"/{name}": [Answer(body=body)] for name, body in BODIES.items()})
    return web


def test_there_are_twenty_each_with_its_sha256_and_a_pinned_commit() -> None:
    assert list(labelmaps.SHA256) == [f"training_seg_{n:02d}.nii.gz" for n in range(1, 21)]
    assert len(set(labelmaps.SHA256.values())) == 20
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in labelmaps.SHA256.values())
    assert labelmaps.COMMIT in labelmaps.URL


@pytest.mark.data
def test_hashes_are_those_of_the_published_files(data_dir: Path) -> None:
    found = {
        name: hashlib.sha256((data_dir / "labelmaps" / name).read_bytes()).hexdigest() for name in labelmaps.SHA256
    }
    assert found == labelmaps.SHA256


def test_fetch_puts_all_twenty_into_the_cache(published: Web, own_cache: Path) -> None:
    folder = fetch_labelmaps(url=published.url)
    assert folder == own_cache / "labelmaps"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == BODIES


def test_fetch_goes_on_where_it_stopped(published: Web, tmp_path: Path) -> None:
    published.answers["/training_seg_03.nii.gz"] = [Answer(404), Answer(body=b"training_seg_03.nii.gz")]
    with pytest.raises(InputError, match=r"training_seg_03\.nii\.gz"):
        fetch_labelmaps(tmp_path, url=published.url)
    assert sorted(os.listdir(tmp_path)) == ["training_seg_01.nii.gz", "training_seg_02.nii.gz"]
    asked = len(published.asked)
    fetch_labelmaps(tmp_path, url=published.url)
    assert len(published.asked) - asked == 18
    assert len(os.listdir(tmp_path)) == 20


def test_fetch_stops_at_a_file_that_is_not_the_published_one(published: Web, tmp_path: Path) -> None:
    published.answers["/training_seg_02.nii.gz"] = [Answer(body=b"something else")]
    with pytest.raises(WeightsError, match=r"training_seg_02\.nii\.gz: is not the published file"):
        fetch_labelmaps(tmp_path, url=published.url)
    assert os.listdir(tmp_path) == ["training_seg_01.nii.gz"]


def test_fetch_tells_a_fraction_that_grows_to_one(published: Web, tmp_path: Path) -> None:
    told: list[float] = []
    fetch_labelmaps(tmp_path, url=published.url, progress=lambda fraction, text: told.append(fraction))
    assert told == sorted(told)
    assert (min(told) > 0, told[-1]) == (True, 1.0)


def test_find_takes_the_folder_given(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.mgz", "c.nii", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_labelmaps(tmp_path)] == ["a.mgz", "b.nii.gz", "c.nii"]


def test_find_refuses_a_folder_without_label_maps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no label maps"):
        find_labelmaps(tmp_path)


def test_find_looks_at_the_development_data_before_the_cache(
    published: Web, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LODBRAIN_DATA", raising=False)
    fetch_labelmaps(url=published.url)
    assert {path.parent for path in find_labelmaps()} == {own_cache / "labelmaps"}
    monkeypatch.setenv("LODBRAIN_DATA", str(tmp_path))
    assert {path.parent for path in find_labelmaps()} == {own_cache / "labelmaps"}
    fetch_labelmaps(tmp_path / "labelmaps", url=published.url)
    found = find_labelmaps()
    assert [path.name for path in found] == list(BODIES)
    assert {path.parent for path in found} == {tmp_path / "labelmaps"}


def test_find_does_not_train_on_a_part_of_the_twenty(
    published: Web, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LODBRAIN_DATA", raising=False)
    fetch_labelmaps(url=published.url)
    (own_cache / "labelmaps" / "training_seg_07.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        find_labelmaps()
    assert str(caught.value) == (
        f"{own_cache / 'labelmaps' / 'training_seg_07.nii.gz'}: is not there. Run: lodbrain fetch labelmaps"
    )
