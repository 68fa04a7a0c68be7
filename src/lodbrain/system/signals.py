"""Deferral of SIGTERM and SIGINT during short critical sections."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted(*, first_only: bool = False) -> Iterator[None]:
    """Defer SIGTERM and SIGINT to the end of the block; with `first_only` a second signal of a kind interrupts.

    Both raise exceptions in the main thread at any time, also during a clean-up or a series of renames. In other
    threads, which receive no signals, this has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}

    def defer(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if first_only:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in heard[:1]:
            signal.raise_signal(late)
