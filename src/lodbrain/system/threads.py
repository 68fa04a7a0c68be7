"""Threads of the CPU: how many a segmentation computes with, and why a forked process has one.

A forked process inherits the state of OpenMP's pool of threads but none of the threads: GNU's OpenMP then waits for
them for ever. A single thread needs no pool, so such a process computes with one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lodbrain.errors import UsageError

#: Filled in a process that was forked when torch was loaded.
_FORKED: list[bool] = []


def check_threads(threads: int | None) -> None:
    """Limit torch to one thread in a process that was forked when torch was loaded; elsewhere do nothing.

    Parameters
    ----------
    threads : int or None
        What is asked for; None leaves it open.

    Raises
    ------
    UsageError
        If several threads are asked for in such a process, where they would wait for ever.
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
    """Compute with so many threads of the CPU in the block, then with as many as before; None changes nothing.

    Raises
    ------
    UsageError
        As `check_threads`.
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
