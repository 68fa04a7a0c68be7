"""Commands in processes of their own that start at once: forked from this one, which has torch loaded."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lodbrain.commands import main


def start(words: Sequence[str | Path], log: Path | None = None, before: Callable[[], None] | None = None) -> int:
    """Process number of ``lodbrain WORDS``, its output in `log`; `before` runs in it first."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: torch gets one only, below
        process = os.fork()
    if process:
        return process
    status = 70
    try:
        target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        torch.set_num_threads(1)  # a pool of threads does not outlive a fork
        if before is not None:
            before()
        status = main([str(word) for word in words])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(process: int) -> int:
    """Exit status; minus the signal's number where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(words: Sequence[str | Path], log: Path | None = None) -> int:
    """Exit status of ``lodbrain WORDS``."""
    return wait(start(words, log))


def kill(process: int, number: signal.Signals, when: Callable[[], bool], delay_s: float, limit_s: float) -> int:
    """Exit status of a process that gets a signal `delay_s` after `when` holds, or after `limit_s`."""
    begun = time.monotonic()
    while not when() and time.monotonic() - begun < limit_s:
        time.sleep(0.0005)
    time.sleep(delay_s)
    os.kill(process, number)
    return wait(process)
