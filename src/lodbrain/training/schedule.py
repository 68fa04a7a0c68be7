"""Progress of a stage, and its learning rate schedule."""

from __future__ import annotations

import math
import time

import torch

from lodbrain.training.config_fields import Budget


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Return the rate of a linear warm-up followed by a cosine from `peak` to a hundredth of it."""
    along = (step - warm_up) / max(1, steps - warm_up)
    return rate_along(step, along, peak, warm_up)


def rate_along(step: int, along: float, peak: float, warm_up: int) -> float:
    """Return the rate at a step, `along` being the progress (0 to 1) from the end of the warm-up to the end."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, along))) / 2)


class Clock:
    """Seconds spent on a stage: processor time on the CPU, wall-clock time elsewhere.

    Parameters
    ----------
    spent : float
        Seconds before this process.
    """

    def __init__(self, device: torch.device, spent: float = 0.0) -> None:
        self._now = time.process_time if device.type == "cpu" else time.monotonic
        self._start = self._now() - spent

    @property
    def seconds(self) -> float:
        """Return the seconds spent, without pauses."""
        return self._now() - self._start

    def pause(self) -> float:
        """Stop the clock; return the argument of `go_on`."""
        return self.seconds

    def go_on(self, at: float) -> None:
        """Restart the clock where `pause` stopped it."""
        self._start = self._now() - at


def rate_of(budget: Budget, step: int, seconds: float, peak: float, warm_up: int) -> float:
    """Return the learning rate of a stage at a step, after a number of seconds."""
    if budget.steps is not None:
        return learning_rate(step, budget.steps, peak, warm_up)
    assert budget.seconds is not None
    return rate_along(step, seconds / budget.seconds, peak, warm_up)


def is_over(budget: Budget, step: int, seconds: float) -> bool:
    """Return whether a stage has ended before a step."""
    return step >= budget.steps if budget.steps is not None else seconds >= (budget.seconds or 0.0)
