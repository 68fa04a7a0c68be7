"""Download of one small file, with verification, retries and atomic writing; the folder of the cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from lodbrain.errors import InputError, OutputError, WeightsError
from lodbrain.system.atomic import atomic
from lodbrain.system.progress import Progress, silent

if TYPE_CHECKING:
    from lodbrain.system.http import Client

_ATTEMPTS = 3
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A published file: its name on disk, the URL of one version of it, and ``"sha256:..."`` or else ``"md5:..."``."""

    name: str
    url: str
    checksum: str


def cache_folder(name: str) -> Path:
    """Return the cache folder ``$LODBRAIN_CACHE/<name>``, by default below the user's cache folder."""
    root = os.environ.get("LODBRAIN_CACHE")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("lodbrain")) / name


def download(remote: Remote, folder: Path, *, progress: Progress = silent, client: Client | None = None) -> Path:
    """Return the path of the file in `folder`; download it if it is missing, and verify its checksum.

    By default, it is tried three times if the connection fails or the server is busy (HTTP 5xx, 429).

    Raises
    ------
    WeightsError
        If the existing or downloaded file does not have the published checksum. An existing file is kept.
    InputError
        If the download fails; the error names the file, its URL, and where to put it by hand.
    OutputError
        If the folder cannot be written to.
    """
    # imported here: segmenting needs none of it
    from lodbrain.system.http import Client, PermanentFailure, TemporaryFailure

    target = folder / remote.name
    if target.exists():
        _verify(target, remote, target, hint="Delete it and run the command again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"the folder cannot be made ({error.strerror})"
        raise OutputError("not-writable", folder, what, "Choose another one") from error
    with client or Client(attempts=_ATTEMPTS) as opened:

        def attempt() -> Path:
            with atomic(target) as temporary:
                _receive(opened, remote, temporary, progress)
                hint = f"Try again later, or download the file from {remote.url} in another way"
                _verify(temporary, remote, target, hint=hint)
            return target

        try:
            return opened.retry(attempt)
        except (TemporaryFailure, PermanentFailure) as error:
            what = f"is not there and could not be downloaded from {remote.url} ({error})"
            hint = "Check the network and try again, or put the file there by hand"
            raise InputError("download", target, what, hint) from error


def _receive(client: Client, remote: Remote, path: Path, progress: Progress) -> None:
    with client.open(remote.url) as answer, path.open("wb") as file:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        for block in answer.iter_content(_BLOCK):
            file.write(block)
            done += len(block)
            progress(min(1.0, done / total) if total else 0.0, remote.name)


def _verify(path: Path, remote: Remote, named: Path, *, hint: str) -> None:
    algorithm, _, expected = remote.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        what = f"is not the published file: its {algorithm} is {found[:12]}..., not {expected[:12]}..."
        raise WeightsError("checksum", named, what, hint)
