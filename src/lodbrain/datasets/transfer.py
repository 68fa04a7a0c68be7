"""Resumable download of one large file, verified and published atomically."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lodbrain.datasets.manifest import Entry
from lodbrain.datasets.s3 import S3Object
from lodbrain.errors import InputError, OutputError
from lodbrain.system.atomic import replace, sync
from lodbrain.system.http import Client, PermanentFailure, TemporaryFailure, refused

if TYPE_CHECKING:
    import requests

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20
#: Bytes per block; at most this much is lost if the connection breaks.
_CHUNK = 1 << 14


def transfer(
    client: Client, source: S3Object, target: Path, *, progress: Callable[[int], None] = lambda size: None
) -> Entry:
    """Download a file to `target`, which must not exist, continuing the partial file of an earlier call.

    The partial file is a hidden file beside the target, ``.lodbrain-<hash>.part``; the hash depends on URL and ETag.
    `progress` is called with the number of bytes present.

    Raises
    ------
    InputError
        If the download fails, or the file does not match the publisher's description. The partial file is kept in the
        first case only.
    OutputError
        If it cannot be written.
    """
    named = hashlib.sha256(f"{source.url} {source.etag}".encode()).hexdigest()[:16]
    part = target.with_name(f".lodbrain-{named}.part")
    version = ""
    with _writing(target), _locked(part, target) as file:
        failures = 0
        while (have := _size(file)) < source.size:
            try:
                version = _append(client, source, file, have, progress) or version
            except PermanentFailure as error:
                raise refused(source.url, error) from error
            except TemporaryFailure as error:
                failures = 1 if _size(file) > have else failures + 1
                if failures >= client.attempts:
                    what = f"could not be downloaded from {source.url} ({error})"
                    hint = f"Run the command again: it resumes at {_size(file)} of {source.size} bytes"
                    raise InputError("download", target, what, hint) from error
                client.pause(failures, error.wait_s)
        entry = check(part, source, version_id=version)
        if entry is None:
            part.unlink()
            what = f"what {source.url} sends is not what its listing says (size {source.size}, MD5 {source.md5})"
            raise InputError("checksum", target, what, "Try again later; nothing was kept")
        sync(part, os.O_RDWR)
        replace(part, target)
    return entry


def check(path: Path, source: S3Object, *, version_id: str = "") -> Entry | None:
    """Return the record of a file on disk, or None if it does not match its publisher's description."""
    if path.stat().st_size != source.size:
        return None
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
    if source.md5 is not None and md5.hexdigest() != source.md5:
        return None
    verified = "size" if source.md5 is None else "md5"
    return Entry(source.size, sha256.hexdigest(), md5.hexdigest(), source.etag, version_id, verified)


def _append(client: Client, source: S3Object, file: IO[bytes], have: int, progress: Callable[[int], None]) -> str:
    """Append the missing bytes to a file of `have` bytes; return the S3 version of the object."""
    # If-Range: if the object has changed, the server sends all of the new one, which fails the check of length or hash
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{source.etag}"'} if have else {}
    with client.open(source.url, headers) as answer:
        if answer.status_code == 200 and have:  # the server cannot resume
            file.truncate(0)
            have = 0
        promised = _promised(answer, have)
        if promised is not None and have + promised != source.size:
            file.truncate(0)
            what = f"the server would send {have + promised} bytes where its listing says {source.size}"
            raise TemporaryFailure(what)
        file.seek(have)
        for block in answer.iter_content(_CHUNK):
            if have + len(block) > source.size:
                file.truncate(0)
                raise TemporaryFailure(f"the server sends more than the {source.size} bytes of its listing")
            file.write(block)
            have += len(block)
            progress(have)
        if have < source.size:
            raise TemporaryFailure("the connection broke off")
        return answer.headers.get("x-amz-version-id", "")


def _promised(answer: requests.Response, have: int) -> int | None:
    """Return the number of bytes that a response announces, None if it does not announce any."""
    if answer.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise TemporaryFailure("the server sends another part than was asked for")
        return int(match[2]) + 1 - have
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _size(file: IO[bytes]) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


@contextmanager
def _locked(part: Path, target: Path) -> Iterator[IO[bytes]]:
    """Yield the partial file, locked by this process."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                hint = "Wait for it to finish"
                raise InputError("in-use", target, "another process is downloading this file", hint) from error
            except OSError:  # no locks on this file system: concurrent downloads fail the hash check
                pass
        yield file


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Convert errors of the file system to `OutputError`."""
    try:
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise OutputError("not-writable", target, what, "Free some space or choose another output folder") from error
