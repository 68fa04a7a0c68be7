import hashlib
import os
import socket
from pathlib import Path

import pytest
from local_web import Answer, Web

from lodbrain.errors import InputError, OutputError, WeightsError
from lodbrain.system.download import Remote, cache_folder, download
from lodbrain.system.http import Client

BODY = bytes(range(256)) * 1000


def remote(url: str, body: bytes = BODY) -> Remote:
    return Remote("a.bin", f"{url}/a.bin", f"sha256:{hashlib.sha256(body).hexdigest()}")


def test_file_is_downloaded_whole_into_a_new_folder(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(body=BODY)]
    path = download(remote(web.url), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == ["a.bin"]


def test_md5_is_checked_where_the_publisher_gives_nothing_else(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(body=BODY)]
    good = Remote("a.bin", f"{web.url}/a.bin", f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert download(good, tmp_path).read_bytes() == BODY
    with pytest.raises(WeightsError, match="its md5 is"):
        download(Remote("a.bin", good.url, f"md5:{'0' * 32}"), tmp_path)


def test_file_that_is_there_is_verified_and_not_downloaded_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY)
    assert download(remote(web.url), tmp_path) == tmp_path / "a.bin"
    assert web.asked == []


def test_file_that_is_there_but_another_is_refused_and_left_alone(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(WeightsError, match="is not the published file: its sha256 is") as caught:
        download(remote(web.url), tmp_path)
    assert caught.value.path == tmp_path / "a.bin"
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert web.asked == []


def test_download_with_the_wrong_checksum_is_refused_at_once_and_leaves_nothing(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(body=b"<html>please sign in</html>")]
    with pytest.raises(WeightsError, match="is not the published file") as caught:
        download(remote(web.url), tmp_path, client=Client(attempts=3, pause_s=0))
    assert caught.value.path == tmp_path / "a.bin"
    assert os.listdir(tmp_path) == []
    assert web.asked == ["/a.bin"]


def test_download_that_always_breaks_off_leaves_nothing(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(body=BODY, cut=100_000)]
    with pytest.raises(InputError, match="the connection broke off") as caught:
        download(remote(web.url), tmp_path, client=Client(attempts=3, pause_s=0))
    assert (caught.value.code, caught.value.exit_code) == ("download", 4)
    assert os.listdir(tmp_path) == []
    assert len(web.asked) == 3


@pytest.mark.parametrize("first", [Answer(503), Answer(429), Answer(body=BODY, cut=10)])
def test_what_may_pass_is_tried_again(first: Answer, web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [first, Answer(body=BODY)]
    assert download(remote(web.url), tmp_path, client=Client(attempts=3, pause_s=0)).read_bytes() == BODY
    assert len(web.asked) == 2


def test_absent_file_is_not_tried_again_and_the_line_says_where_from_and_where_to(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        download(remote(web.url), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'a.bin'}: is not there and could not be downloaded from {web.url}/a.bin (HTTP 404). "
        "Check the network and try again, or put the file there by hand"
    )
    assert web.asked == ["/a.bin"]
    assert os.listdir(tmp_path) == []


def test_without_a_network_the_line_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match=r"downloaded from http://127\.0\.0\.1:\d+/a\.bin \(no connection\)"):
        download(remote(url), tmp_path, client=Client(attempts=2, pause_s=0))
    assert os.listdir(tmp_path) == []


def test_pauses_double(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(500)]
    slept: list[float] = []
    with pytest.raises(InputError, match=r"\(HTTP 500\)"):
        download(remote(web.url), tmp_path, client=Client(attempts=4, sleep=slept.append))
    assert slept == [1.0, 2.0, 4.0]


def test_progress_grows_to_one(web: Web, tmp_path: Path) -> None:
    web.answers["/a.bin"] = [Answer(body=BODY)]
    told: list[tuple[float, str]] = []
    download(remote(web.url), tmp_path, progress=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[0] == (65536 / 256000, "a.bin")
    assert told[-1] == (1.0, "a.bin")


def test_folder_that_cannot_be_made_is_an_output_error(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="the folder cannot be made"):
        download(remote(web.url), tmp_path / "file" / "folder")
    assert web.asked == []


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LODBRAIN_CACHE", str(tmp_path))
    assert cache_folder("labelmaps") == tmp_path / "labelmaps"
    monkeypatch.delenv("LODBRAIN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("labelmaps").parts[-2:] == ("lodbrain", "labelmaps")
