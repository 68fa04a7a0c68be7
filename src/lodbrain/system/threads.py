"""Number of CPU threads of a segmentation, and its limit to one in forked processes.

A forked process inherits the state of OpenMP's thread pool but not the threads, and GNU OpenMP waits for them forever.
A single thread needs no pool, so such a process computes with one thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lodbrain.errors import UsageError

#: Not empty in a process that was forked after torch was loaded.
_FORKED: list[bool] = []


def check_threads(threads: int | None) -> None:
    """Limit torch to one thread in a process that was forked after torch was loaded; no effect in others.

    Raises
    ------
    UsageError
        If several threads are requested in such a process, where they would deadlock.
    """
    if not _FORKED:
        return
    if threads is not None and threads > 1:
        what = f"a process that was forked after torch was loaded can use one thread only, got threads={threads}"
        hint = "Start the processes with multiprocessing.get_context('spawn'), or use `lodbrain segment --jobs`"
        raise UsageError("forked", None, what, hint)
    import torch

    torch.set_num_threads(1)


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Set torch's number of CPU threads for the block, and restore it afterwards; None changes nothing.

    Raises
    ------
    UsageError
        As in `check_threads`.
    """
    check_threads(count)
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _after_fork() -> None:
    if "torch" in sys.modules:
        _FORKED.append(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
