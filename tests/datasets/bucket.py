"""A public bucket on the loopback: it lists in pages, serves ranges, and fails as a test tells it to."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Fault:
    """What goes wrong with one answer: a status, a stall or an end after so many bytes, another length or content."""

    status: int = 0
    retry_after: str = ""
    stall_after: int | None = None
    cut_after: int | None = None
    body: bytes | None = None
    ignore_range: bool = False


SOUND = Fault()


@dataclass
class Bucket:
    """Objects by key, faults by key (used up in order), and what was asked for."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    multipart: set[str] = field(default_factory=set)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    page: int = 1000
    asked: list[tuple[str, str]] = field(default_factory=list)
    listing: bytes | None = None

    def etag(self, key: str) -> str:
        digest = hashlib.md5(self.objects[key]).hexdigest()
        return f"{digest}-2" if key in self.multipart else digest

    def list(self, query: dict[str, list[str]]) -> bytes:
        prefix, start = query["prefix"][0], int(query.get("continuation-token", ["0"])[0])
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        rows = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(self.objects[key])}</Size>"
            f"<ETag>&quot;{self.etag(key)}&quot;</ETag></Contents>"
            for key in keys[start : start + self.page]
        )
        more = start + self.page < len(keys)
        token = f"<NextContinuationToken>{start + self.page}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}"
            "</ListBucketResult>"
        ).encode()


def tree(version: str = "1.1.0", subjects: tuple[str, ...] = ("3", "9", "30")) -> dict[str, bytes]:
    """A BIDS data set laid out as UltraCortex: files by name, each of its own content and length."""
    files = {
        "CHANGES": f"{version} 2024-10-01\n  - Duplicates left out\n1.0.0 2024-06-17\n  - Initial snapshot\n".encode(),
        "dataset_description.json": f'{{"DatasetDOI": "doi:10.18112/openneuro.ds005216.v{version}"}}'.encode(),
        "participants.tsv": b"participant_id\n",
    }
    for subject in subjects:
        stem = f"sub-{subject}_ses-1"
        names = [f"sub-{subject}/ses-1/anat/{stem}_T1w.nii", f"sub-{subject}/ses-1/anat/{stem}_T1w.json"]
        names += [f"derivatives/manual_segmentation/{stem}_seg.nii", f"derivatives/brainmasks/{stem}_brainmask.nii"]
        files |= {name: name.encode() * 2000 for name in names}
    return files


@contextmanager
def serve(bucket: Bucket) -> Iterator[Bucket]:
    """The bucket at ``bucket.url``."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            key = unquote(parts.path).removeprefix("/bucket").lstrip("/")
            bucket.asked.append((key, self.headers.get("Range", "")))
            fault = bucket.faults[key].pop(0) if bucket.faults.get(key) else Fault()
            if fault.status:
                return self.answer(fault.status, b"", {"Retry-After": fault.retry_after} if fault.retry_after else {})
            if not key:
                return self.answer(200, bucket.listing or bucket.list(parse_qs(parts.query)), {})
            if key not in bucket.objects:
                return self.answer(404, b"", {})
            body = bucket.objects[key] if fault.body is None else fault.body
            headers = {"ETag": f'"{bucket.etag(key)}"', "x-amz-version-id": f"v-{key[-5:]}"}
            status, asked = 200, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            fresh = self.headers.get("If-Range", "") in ("", f'"{bucket.etag(key)}"')
            if asked and fresh and not fault.ignore_range:
                start = int(asked[1])
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[start:]
            self.answer(status, body, headers, fault)

        def answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault = SOUND) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            end = fault.stall_after if fault.stall_after is not None else fault.cut_after
            self.wfile.write(body[:end])
            if fault.stall_after is not None:
                self.wfile.flush()
                over.wait(5)
            if end is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}/bucket"
    try:
        yield bucket
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
