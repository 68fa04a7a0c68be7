import math
import time
from itertools import pairwise

import pytest
import torch

from lodbrain.training.config_fields import Budget
from lodbrain.training.schedule import Clock, is_over, rate_of


def test_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [rate_of(Budget(steps=1000), step, 0.0, 2.0, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[49] == pytest.approx(1.0)
    assert rates[99] == rates[100] == max(rates) == 2.0
    assert rates[550] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rates[325] == pytest.approx(2.0 * (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert rate_of(Budget(steps=1000), 1000, 0.0, 2.0, 100) == pytest.approx(0.02)
    assert rate_of(Budget(steps=1000), 5000, 0.0, 2.0, 100) == pytest.approx(0.02)


def test_rate_of_a_budget_of_seconds_follows_the_seconds() -> None:
    budget = Budget(seconds=20)
    assert rate_of(budget, 2, 3.0, 2.0, 4) == pytest.approx(1.5)  # still warming up
    assert rate_of(budget, 50, 10.0, 2.0, 4) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rate_of(budget, 50, 20.0, 2.0, 4) == pytest.approx(0.02)


def test_stage_is_over_when_its_budget_is_spent() -> None:
    assert [is_over(Budget(steps=3), step, 99.0) for step in (2, 3)] == [False, True]
    assert [is_over(Budget(seconds=3), 99, seconds) for seconds in (2.9, 3.0)] == [False, True]


def test_clock_of_the_cpu_counts_work_not_waiting_and_pauses() -> None:
    clock = Clock(torch.device("cpu"), spent=5.0)
    time.sleep(0.05)
    assert 5.0 <= clock.seconds < 5.04
    at = clock.seconds
    with clock.paused():
        sum(range(3_000_000))
    assert clock.seconds < at + 0.02
