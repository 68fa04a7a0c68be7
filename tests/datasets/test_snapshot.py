import pytest

from lodbrain.datasets.s3 import list_objects
from lodbrain.datasets.snapshot import PublishedVersion, check_version, published
from lodbrain.errors import InputError
from lodbrain.system.http import Client

from .bucket import Bucket, tree


def said(bucket: Bucket) -> PublishedVersion:
    with Client() as client:
        objects = {o.key.removeprefix("ds005216/"): o for o in list_objects(client, bucket.url, "ds005216/")}
        return published(client, "ds005216", objects)


def test_version_is_what_changes_and_doi_say(bucket: Bucket) -> None:
    assert said(bucket) == PublishedVersion("1.1.0", "1.1.0")
    assert said(bucket).evidence == "CHANGES says 1.1.0; DatasetDOI says 1.1.0"


def test_newest_version_counts_wherever_it_stands(bucket: Bucket) -> None:
    bucket.objects["ds005216/CHANGES"] = b"1.9.0 2024-01-01\n - x\n1.10.0 2025-01-01\n - 2.0.0 is to come\n"
    assert said(bucket).version == "1.10.0"


@pytest.mark.parametrize(
    ("changes", "description", "version"),
    [
        (b"", b'{"DatasetDOI": "10.18112/openneuro.ds005216.v1.0.0"}', "1.0.0"),
        (b"1.1.0 2024-10-01", b"no json", "1.1.0"),
        (b"1.1.0 2024-10-01", b'{"DatasetDOI": "10.18112/openneuro.ds005216.v1.0.0"}', "1.1.0"),
        (b"none", b'{"DatasetDOI": "10.18112/openneuro.ds000001.v1.1.0"}', None),
        (b"\xff\xfe", b"[1]", None),
    ],
)
def test_what_is_missing_or_of_another_dataset_does_not_count(
    changes: bytes, description: bytes, version: str | None, bucket: Bucket
) -> None:
    bucket.objects |= {"ds005216/CHANGES": changes, "ds005216/dataset_description.json": description}
    assert said(bucket).version == version


def test_another_version_is_refused_and_the_way_to_the_right_one_said(bucket: Bucket) -> None:
    bucket.objects |= {f"ds005216/{name}": body for name, body in tree("1.2.0").items()}
    found = said(bucket)
    check_version(found, "ds005216", None)
    check_version(found, "ds005216", "1.2.0")
    with pytest.raises(InputError) as caught:
        check_version(found, "ds005216", "1.1.0")
    assert str(caught.value) == (
        "ds005216: OpenNeuro's storage now holds version 1.2.0, not 1.1.0 (CHANGES says 1.2.0; DatasetDOI says 1.2.0). "
        "Ask for 1.2.0, or take tag 1.1.0 of https://github.com/OpenNeuroDatasets/ds005216 (DataLad)"
    )


def test_version_that_cannot_be_verified_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not say which version it is: that it is 1\.1\.0 cannot be verified"):
        check_version(PublishedVersion(), "ds005216", "1.1.0")
    check_version(PublishedVersion(), "ds005216", None)
