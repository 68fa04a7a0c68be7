"""How Dice falls as scans get worse: steps, curves, and where they break down."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from lodbrain.errors import InputError
from lodbrain.evaluation.metric_files import NOT_AVAILABLE

#: The region whose curve is drawn first: the mean of the tissues.
MEAN = "mean"


@dataclass(frozen=True)
class Step:
    """One segmentation and one region of it.

    Attributes
    ----------
    scan, method, degradation : str
    strength : float
        0: the scan as it is.
    region : str
        A tissue, a structure with its sides merged, the brain, or ``"mean"`` of the tissues.
    level : str
    dice : float
        NaN where neither has it; 0 where no brain was found.
    score : float
        The quality score that the method gave itself; NaN if it gives none.
    """

    scan: str
    method: str
    degradation: str
    strength: float
    region: str
    level: str
    dice: float
    score: float


COLUMNS = tuple(field.name for field in fields(Step))


@dataclass(frozen=True, eq=False)
class Stress:
    """What came of it.

    Attributes
    ----------
    steps : tuple of Step
    reference : str
        What the Dice is against.
    problems : tuple of InputError
        Scans that were left out.
    """

    steps: tuple[Step, ...]
    reference: str
    problems: tuple[InputError, ...] = ()

    def curve(self, method: str, degradation: str, region: str) -> tuple[list[float], list[float]]:
        """Strengths from 0 upwards, and the mean Dice over scans at each."""
        values: dict[float, list[float]] = {}
        for step in self.steps:
            if (step.method, step.region) == (method, region) and step.degradation in (degradation, ""):
                values.setdefault(step.strength, []).append(step.dice)
        strengths = sorted(values)
        means = [[v for v in values[s] if not math.isnan(v)] for s in strengths]
        return strengths, [fmean(v) if v else float("nan") for v in means]

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order in which they were tried."""
        return tuple(dict.fromkeys(step.method for step in self.steps))

    @property
    def exit_code(self) -> int:
        """0 if all scans were tried, 3 if some, 4 if none."""
        return 0 if not self.problems else 3 if self.steps else 4


def break_down(strengths: Sequence[float], dice: Sequence[float], *, threshold: float) -> float | None:
    """Strength at which the Dice first falls below a threshold, interpolated between steps.

    Parameters
    ----------
    strengths : sequence of float
        Rising, from 0.
    dice : sequence of float
        At each; NaN where there is none: such steps are left out.
    threshold : float

    Returns
    -------
    float or None
        0 if it is below from the start, None if it never falls below.

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


def key_of(step: Step) -> tuple[str, str, str, float, str, str]:
    """What a step is known by."""
    return step.scan, step.method, step.degradation, step.strength, step.region, step.level


def read_steps(path: Path) -> list[Step]:
    """Steps of an earlier run; none where there is no such file.

    Raises
    ------
    InputError
        If it is damaged.
    """

    def number(text: str) -> float:
        return float("nan") if text == NOT_AVAILABLE else float(text)

    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Step(
                    row["scan"],
                    row["method"],
                    "" if row["degradation"] == NOT_AVAILABLE else row["degradation"],
                    float(row["strength"]),
                    row["region"],
                    row["level"],
                    number(row["dice"]),
                    number(row["score"]),
                )
                for row in csv.DictReader(file, delimiter="\t")
            ]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("bad-result", path, f"it is damaged ({error})", "Delete it, or choose another -o") from error
