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

    Their handlers can raise an exception anywhere in the main thread, even during a clean-up or a series of renames.
    Other threads receive no signals, so this has no effect there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}

    def defer(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if first_only:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
