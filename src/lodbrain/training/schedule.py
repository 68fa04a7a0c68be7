"""How far a stage is, and the rate of learning that goes with it."""

from __future__ import annotations

import math
import time

import torch

from lodbrain.training.settings import Budget


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Linear warm-up, then a cosine from `peak` down to a hundredth of it."""
    along = (step - warm_up) / max(1, steps - warm_up)
    return rate_along(step, along, peak, warm_up)


def rate_along(step: int, along: float, peak: float, warm_up: int) -> float:
    """The rate at a step, `along` the way (0 to 1) from the end of the warm-up to the end."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, along))) / 2)


class Clock:
    """Seconds that were spent on a stage: the processor's on the CPU, the clock's elsewhere.

    Parameters
    ----------
    device : torch.device
    spent : float
        Seconds before this process.
    """

    def __init__(self, device: torch.device, spent: float = 0.0) -> None:
        self._now = time.process_time if device.type == "cpu" else time.monotonic
        self._start = self._now() - spent

    @property
    def seconds(self) -> float:
        """Spent up to now, pauses left out."""
        return self._now() - self._start

    def pause(self) -> float:
        """Stop; returns what `go_on` needs."""
        return self.seconds

    def go_on(self, at: float) -> None:
        """Go on from where `pause` stopped."""
        self._start = self._now() - at


def rate_of(budget: Budget, step: int, seconds: float, peak: float, warm_up: int) -> float:
    """The rate of a stage at a step, after so many seconds."""
    if budget.steps is not None:
        return learning_rate(step, budget.steps, peak, warm_up)
    assert budget.seconds is not None
    return rate_along(step, seconds / budget.seconds, peak, warm_up)


def is_over(budget: Budget, step: int, seconds: float) -> bool:
    """Whether a stage is at its end before a step."""
    return step >= budget.steps if budget.steps is not None else seconds >= (budget.seconds or 0.0)
