"""HTTP client with timeouts, and retries after exponential backoff or the server's ``Retry-After``."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from lodbrain.errors import InputError
from lodbrain.version import __version__

if TYPE_CHECKING:
    import requests

T = TypeVar("T")


class TemporaryFailure(Exception):
    """Failure after which a request can be retried, `wait_s` seconds later if the server says so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class PermanentFailure(Exception):
    """Failure that a retry would not change, such as HTTP 404."""


@dataclass(frozen=True)
class Client:
    """HTTP client, whose connections stay open within a ``with`` block.

    Attributes
    ----------
    attempts : int
        Number of consecutive failures after which to give up. The count restarts when a part of a file is received.
    pause_s, longest_s : float
        Pause before the second attempt, doubled for each further one; and the longest pause, whatever the server asks.
    timeout_s : float
        Seconds without data after which a connection counts as stalled.
    sleep : callable
        Waits the given number of seconds.
    """

    attempts: int = 6
    pause_s: float = 1.0
    longest_s: float = 120.0
    timeout_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    _sessions: list[requests.Session] = field(default_factory=list, init=False, repr=False, compare=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        while self._sessions:
            self._sessions.pop().close()

    def pause(self, failures: int, wait_s: float | None) -> None:
        """Wait before the next attempt, after a number of consecutive failures."""
        pause = self.pause_s * 2 ** (failures - 1) if wait_s is None else wait_s
        self.sleep(min(max(pause, 0.0), self.longest_s))

    def retry(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, repeated after each `TemporaryFailure` until the last attempt."""
        for failures in range(1, self.attempts):
            try:
                return work()
            except TemporaryFailure as error:
                self.pause(failures, error.wait_s)
        return work()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """Yield the response to one GET, with the body not yet read.

        Raises
        ------
        TemporaryFailure
            If the connection breaks or stalls, also while the body is read in the block; on HTTP 429 and 5xx.
        PermanentFailure
            On any other status than 200 and 206.
        """
        import requests

        if not self._sessions:
            session = requests.Session()
            session.headers["User-Agent"] = f"lodbrain/{__version__}"
            session.headers["Accept-Encoding"] = "identity"  # so that lengths and ranges refer to the file
            self._sessions.append(session)
        try:
            with self._sessions[0].get(url, headers=headers, stream=True, timeout=self.timeout_s) as answer:
                if answer.status_code in (200, 206):
                    yield answer
                    return
                what = f"HTTP {answer.status_code}"
                if answer.status_code == 429 or answer.status_code >= 500:
                    raise TemporaryFailure(what, _seconds(answer.headers.get("Retry-After")))
        except requests.Timeout as error:
            raise TemporaryFailure(f"no answer within {self.timeout_s:g} s") from error
        except requests.ConnectionError as error:
            # also raised if the body stalls
            stalled = "timed out" in str(error)
            raise TemporaryFailure(f"stalled for {self.timeout_s:g} s" if stalled else "no connection") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise TemporaryFailure("the connection broke off") from error
        except requests.RequestException as error:
            raise PermanentFailure(type(error).__name__) from error
        raise PermanentFailure(what)

    def read(self, url: str, *, most_bytes: int) -> bytes:
        """Return the content of a small document.

        Raises
        ------
        InputError
            If the download fails, or the document is larger than `most_bytes`.
        """

        def attempt() -> bytes:
            body = b""
            with self.open(url) as answer:
                for block in answer.iter_content(1 << 16):
                    body += block
                    if len(body) > most_bytes:
                        what = f"is larger than the limit of {most_bytes} bytes"
                        raise InputError("download", url, what)
            return body

        try:
            return self.retry(attempt)
        except PermanentFailure as error:
            raise refused(url, error) from error
        except TemporaryFailure as error:
            raise InputError("download", url, f"could not be read ({error})", "Try again later") from error


def refused(url: str, error: PermanentFailure) -> InputError:
    """Return the error of a request that failed permanently."""
    return InputError("download", url, f"request failed ({error})", "Check its name and the version")


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds to wait from a ``Retry-After`` header (seconds or a date); None if missing or invalid."""
    if retry_after is None:
        return None
    try:
        return float(int(retry_after))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
