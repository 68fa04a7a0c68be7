"""Robustness to degraded scans: Dice by strength of the degradation, and breakdown points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from lodbrain.errors import InputError
from lodbrain.system.records import NOT_AVAILABLE, read_tsv

#: Region of the first curve: the mean of the tissues.
MEAN = "mean"


@dataclass(frozen=True)
class StressStep:
    """Result of one region in one segmentation.

    Attributes
    ----------
    strength : float
        0 for the undegraded scan.
    region : str
        A tissue, a structure with its sides merged, the brain, or ``"mean"`` of the tissues.
    dice : float
        NaN if the region is empty in both maps; 0 if no brain was found.
    score : float
        Predicted Dice, as reported by the method; NaN if it reports none.
    """

    scan: str
    method: str
    degradation: str
    strength: float
    region: str
    level: str
    dice: float
    score: float


COLUMNS = tuple(field.name for field in fields(StressStep))


@dataclass(frozen=True, eq=False)
class Stress:
    """Results of a stress test.

    Attributes
    ----------
    problems : tuple of InputError
        Scans that could not be tested.
    """

    steps: tuple[StressStep, ...]
    reference: str
    problems: tuple[InputError, ...] = ()

    def curve(self, method: str, degradation: str, region: str) -> tuple[list[float], list[float]]:
        """Return strengths from 0 upwards, and the mean Dice over scans at each."""
        values: dict[float, list[float]] = {}
        for step in self.steps:
            if (step.method, step.region) == (method, region) and step.degradation in (degradation, ""):
                values.setdefault(step.strength, []).append(step.dice)
        strengths = sorted(values)
        means = [[v for v in values[s] if not math.isnan(v)] for s in strengths]
        return strengths, [fmean(v) if v else float("nan") for v in means]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order of their first results."""
        return tuple(dict.fromkeys(step.method for step in self.steps))

    @property
    def exit_code(self) -> int:
        """0 if all scans were tested, 3 if some, 4 if none."""
        return 0 if not self.problems else 3 if self.steps else 4


def break_down(strengths: Sequence[float], dice: Sequence[float], *, threshold: float) -> float | None:
    """Return the strength at which the Dice first falls below a threshold, interpolated between steps.

    Strengths ascend from 0; steps with a NaN are ignored. The result is 0 if the first value is below, None if none is.

    Examples
    --------
    >>> break_down([0, 1, 2, 4], [0.9, 0.85, 0.75, 0.55], threshold=0.7)
    2.5
    >>> break_down([0, 1], [0.9, 0.8], threshold=0.7) is None
    True
    """
    if len(strengths) != len(dice) or any(b <= a for a, b in pairwise(strengths)):
        raise ValueError(f"strengths must rise and be as many as dice, got {list(strengths)} and {len(dice)} values")
    before: tuple[float, float] | None = None
    for strength, value in zip(strengths, dice, strict=True):
        if math.isnan(value):
            continue
        if value < threshold:
            if before is None:
                return float(strength)
            last, above = before
            return round(last + (strength - last) * (above - threshold) / (above - value), 6)
        before = (strength, value)
    return None


def key_of(step: StressStep) -> tuple[str, str, str, float, str, str]:
    """Return the key that identifies a step."""
    return step.scan, step.method, step.degradation, step.strength, step.region, step.level


def read_steps(path: Path) -> list[StressStep]:
    """Return the steps of an earlier run; none if there is no such file.

    Raises
    ------
    InputError
        If the file is damaged.
    """

    def number(text: str) -> float:
        return float("nan") if text == NOT_AVAILABLE else float(text)

    try:
        return [
            StressStep(
                row["scan"],
                row["method"],
                "" if row["degradation"] == NOT_AVAILABLE else row["degradation"],
                float(row["strength"]),
                row["region"],
                row["level"],
                number(row["dice"]),
                number(row["score"]),
            )
            for row in read_tsv(path)
        ]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("bad-result", path, f"it is damaged ({error})", "Delete it, or choose another -o") from error
