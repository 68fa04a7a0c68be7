import re
from dataclasses import replace
from pathlib import Path

import pytest

from lodbrain.datasets import openneuro
from lodbrain.datasets.openneuro import HEAD, fetch_head
from lodbrain.errors import WeightsError

from .conftest import Answer, Web


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
