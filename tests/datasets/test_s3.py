import pytest

from lodbrain.datasets.s3 import S3Object, list_objects
from lodbrain.errors import InputError
from lodbrain.system.http import Client

from .bucket import Bucket, Fault


def listed(bucket: Bucket, prefix: str = "ds005216/", **options: float) -> list[S3Object]:
    with Client(sleep=lambda seconds: None, **options) as client:  # type: ignore[arg-type]
        return list(list_objects(client, bucket.url, prefix))


@pytest.mark.parametrize("page", [1, 4, 1000])
def test_every_object_is_listed_once_whatever_the_pages(page: int, bucket: Bucket) -> None:
    bucket.page = page
    bucket.objects["ds0052160/other"] = b""
    found = listed(bucket)
    assert [o.key for o in found] == sorted(key for key in bucket.objects if key.startswith("ds005216/"))
    assert {o.key: (o.size, o.etag) for o in found} == {
        key: (len(bucket.objects[key]), bucket.etag(key)) for key in (o.key for o in found)
    }
    assert len(bucket.asked) == -(-len(found) // page)


def test_names_with_signs_of_xml_and_of_urls_come_through(bucket: Bucket) -> None:
    bucket.objects = {"ds005216/a b+c&<é>%20.txt": b"1"}
    (found,) = listed(bucket)
    assert found.key == "ds005216/a b+c&<é>%20.txt"
    with Client() as client:
        assert client.read(found.url, most_bytes=9) == b"1"


def test_md5_is_known_of_objects_of_one_part_only() -> None:
    assert S3Object("a", 1, "0" * 32, "u").md5 == "0" * 32
    assert S3Object("a", 1, "0" * 32 + "-2", "u").md5 is None


def test_busy_server_is_asked_again(bucket: Bucket) -> None:
    bucket.faults[""] = [Fault(503), Fault(500)]
    assert len(listed(bucket)) == len(bucket.objects)
    assert len(bucket.asked) == 3


BOMB = b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ListBucketResult><Prefix>&b;</Prefix></ListBucketResult>'
TRUNCATED = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
FOREIGN = b"<ListBucketResult><Contents><Key>etc/passwd</Key><Size>1</Size></Contents></ListBucketResult>"
NO_SIZE = b"<ListBucketResult><Contents><Key>ds005216/a</Key><Size>-1</Size></Contents></ListBucketResult>"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>sign in</html>", "it is a 'html'"),
        (b"<ListBucketResult>", "ParseError"),
        (BOMB, "DTDForbidden"),
        (TRUNCATED, "where it goes on"),
        (FOREIGN, "which was not asked for"),
        (NO_SIZE, "lacks its key or size"),
    ],
)
def test_what_is_no_listing_is_refused(answer: bytes, why: str, bucket: Bucket) -> None:
    bucket.listing = answer
    with pytest.raises(InputError, match=why) as caught:
        listed(bucket)
    assert caught.value.code == "listing"


def test_listing_that_goes_round_in_circles_is_refused(bucket: Bucket) -> None:
    bucket.listing = TRUNCATED.replace(b"</List", b"<NextContinuationToken>x</NextContinuationToken></List")
    with pytest.raises(InputError, match="where it goes on"):
        listed(bucket)
    assert len(bucket.asked) == 2


def test_page_without_end_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lodbrain.datasets.s3.MOST_PAGE_BYTES", 100)
    with pytest.raises(InputError, match="larger than the limit of 100 bytes"):
        listed(bucket)
