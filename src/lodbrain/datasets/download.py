"""Download of one small file, with verification, retries and atomic writing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from lodbrain.errors import InputError, OutputError, WeightsError
from lodbrain.system.atomic import atomic

if TYPE_CHECKING:
    import requests

#: `progress(fraction, text)`: share done, 0..1, and the current file.
Progress = Callable[[float, str], None]

TIMEOUT_S = 30


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes
    ----------
    name : str
        Name of the file on disk.
    url : str
        URL of one version of the file.
    checksum : str
        ``"sha256:..."``, or ``"md5:..."`` if the publisher provides nothing better.
    """

    name: str
    url: str
    checksum: str


def cache_folder(name: str) -> Path:
    """Return the cache folder ``$LODBRAIN_CACHE/<name>``, by default below the user's cache folder."""
    root = os.environ.get("LODBRAIN_CACHE")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("lodbrain")) / name


def download(
    remote: Remote, folder: Path, *, progress: Progress | None = None, attempts: int = 3, pause_s: float = 1.0
) -> Path:
    """Return the path of the file in `folder`; download it if it is missing, and verify its checksum.

    Parameters
    ----------
    remote : Remote
        File to download.
    folder : Path
        Target folder; created if missing.
    progress : callable, optional
        Called with the share done and the file's name.
    attempts : int
        Number of attempts if the connection fails or the server is busy (HTTP 5xx, 429).
    pause_s : float
        Seconds before the second attempt, doubled for each further one.

    Returns
    -------
    Path
        ``folder / remote.name``, complete and verified.

    Raises
    ------
    WeightsError
        If the existing or downloaded file does not have the published checksum. An existing file is kept.
    InputError
        If the download fails; the error names the file, its URL, and where to put it by hand.
    OutputError
        If the folder cannot be written to.
    """
    import pooch
    import requests

    target = folder / remote.name
    if target.exists():
        _verify(target, remote, target, hint="Delete it and run the command again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"the folder cannot be made ({error.strerror})"
        raise OutputError("not-writable", folder, what, "Choose another one") from error
    fetch = pooch.HTTPDownloader(
        progressbar=_Bar(remote.name, progress) if progress else False, chunk_size=1 << 16, timeout=TIMEOUT_S
    )
    for attempt in range(1, attempts + 1):
        try:
            with atomic(target) as temporary:
                fetch(remote.url, str(temporary), None)
                _verify(
                    temporary, remote, target, hint=f"Try again later, or get the file from {remote.url} by other means"
                )
            return target
        except requests.RequestException as error:
            if error.response is not None:
                error.response.close()  # pooch leaves it open
            if attempt == attempts or not _passing(error):
                raise InputError(
                    "download",
                    target,
                    f"is not there and could not be downloaded from {remote.url} ({_reason(error)})",
                    "Check the network and try again, or put the file there by hand",
                ) from error
            time.sleep(pause_s * 2 ** (attempt - 1))
    raise ValueError(f"attempts must be at least 1, got {attempts}")


def _verify(path: Path, remote: Remote, named: Path, *, hint: str) -> None:
    import pooch

    algorithm, _, expected = remote.checksum.partition(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found != expected:
        what = f"is not the published file: its {algorithm} is {found[:12]}..., not {expected[:12]}..."
        raise WeightsError("checksum", named, what, hint)


def _passing(error: requests.RequestException) -> bool:
    """Return whether a failure may be temporary, unlike a 404."""
    return error.response is None or error.response.status_code >= 500 or error.response.status_code == 429


def _reason(error: requests.RequestException) -> str:
    import requests

    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S} s"
    return "no connection"


class _Bar:
    """Progress bar in the form that pooch expects, which reports the share done to a callable."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name, self.progress, self.done, self.total = name, progress, 0, 0

    def update(self, size: int) -> None:
        self.done += size
        self.progress(min(1.0, self.done / self.total) if self.total else 0.0, self.name)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""
