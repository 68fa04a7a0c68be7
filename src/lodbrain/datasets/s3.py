"""Listing of a public S3 bucket, without credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus, urlencode

from lodbrain.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from lodbrain.system.http import Client

#: Limits of a listing. A page lists 1000 objects in about 400 KB.
MOST_PAGE_BYTES = 1 << 24
MOST_PAGES = 10_000


@dataclass(frozen=True)
class S3Object:
    """One object of a bucket.

    Attributes
    ----------
    key : str
        Name as given by the server; untrusted.
    size : int
        Bytes.
    etag : str
        Changes with the content.
    """

    key: str
    size: int
    etag: str
    url: str

    @property
    def md5(self) -> str | None:
        """MD5 of the content if the ETag is one, as for objects uploaded in one part; else None."""
        return self.etag if re.fullmatch(r"[0-9a-f]{32}", self.etag) else None


def list_objects(client: Client, bucket_url: str, prefix: str) -> Iterator[S3Object]:
    """Yield the objects of a bucket, given by its URL, whose keys begin with a prefix.

    Raises
    ------
    InputError
        If the bucket cannot be listed, or the response is not a valid listing.

    References
    ----------
    Amazon S3 API Reference, ListObjectsV2.
    """
    query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        url = f"{bucket_url}?{urlencode(query)}"
        page = _parse(client.read(url, most_bytes=MOST_PAGE_BYTES), url)
        for entry in page.findall("Contents"):
            key, size, etag = (_text(entry, name) for name in ("Key", "Size", "ETag"))
            if not key or not re.fullmatch(r"\d{1,15}", size):
                raise _no_listing(url, "an object lacks its key or size")
            key = unquote_plus(key) if _text(page, "EncodingType") == "url" else key
            if not key.startswith(prefix):
                raise _no_listing(url, f"it names {key[:80]!r}, which was not asked for")
            yield S3Object(key, int(size), etag.strip('"'), f"{bucket_url}/{quote(key, safe='/')}")
        if _text(page, "IsTruncated") != "true":
            return
        token = _text(page, "NextContinuationToken")
        if not token or token in seen:
            raise _no_listing(url, "it does not say where it goes on")
        seen.add(token)
        query["continuation-token"] = token
    raise _no_listing(url, f"it has more than {MOST_PAGES} pages")


def _parse(body: bytes, url: str) -> Element:
    """Return the root element of a listing, with tags without namespace."""
    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    try:
        root: Element = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    except (DefusedXmlException, defusedxml.ElementTree.ParseError, ValueError) as error:
        raise _no_listing(url, f"it is not the XML of one ({type(error).__name__})") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "ListBucketResult":
        raise _no_listing(url, f"it is a {root.tag[:40]!r}")
    return root


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _no_listing(url: str, why: str) -> InputError:
    return InputError("listing", url, f"the server's answer is no listing that can be used: {why}", "Try again later")
