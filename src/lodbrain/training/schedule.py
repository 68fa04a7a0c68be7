"""Clock, end and learning rate schedule of a training stage."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lodbrain.training.config_fields import Budget


class Clock:
    """Seconds spent on a stage, including `spent` in earlier processes: processor time on the CPU, else wall clock."""

    def __init__(self, device: torch.device, spent: float = 0.0) -> None:
        self._now = time.process_time if device.type == "cpu" else time.monotonic
        self._start = self._now() - spent

    @property
    def seconds(self) -> float:
        """Seconds spent, without pauses."""
        return self._now() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock during the block."""
        at = self.seconds
        yield
        self._start = self._now() - at


def rate_of(budget: Budget, step: int, seconds: float, peak: float, warm_up: int) -> float:
    """Return the learning rate of a stage at a step, after a number of seconds.

    A linear warm-up over `warm_up` steps is followed by cosine decay from `peak` to a hundredth of it, over the
    remaining steps, or over all seconds of the budget.
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if budget.steps is not None:
        progress = (step - warm_up) / max(1, budget.steps - warm_up)
    else:
        progress = seconds / (budget.seconds or math.inf)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def is_over(budget: Budget, step: int, seconds: float) -> bool:
    """Return whether a stage has ended before a step."""
    return step >= budget.steps if budget.steps is not None else seconds >= (budget.seconds or 0.0)
