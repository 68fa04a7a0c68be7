"""Comparison of models on the same cases: paired differences, Wilcoxon's test, Holm's correction.

References
----------
Wilcoxon F. Individual comparisons by ranking methods. Biometrics Bulletin 1:80-83 (1945), doi:10.2307/3001968.
Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6:65-70 (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lodbrain.evaluation.groups import Interval, bootstrap_mean


@dataclass(frozen=True)
class Comparison:
    """Difference of two models on their common subjects.

    Attributes
    ----------
    difference : Interval
        Mean of one minus other over the n common subjects.
    wins, losses : int
        Numbers of subjects on whom `one` is better, and on whom `other` is.
    p : float
        Two-sided Wilcoxon signed-rank test; 1 where all differences are 0, NaN without common subjects.
    """

    one: str
    other: str
    difference: Interval
    wins: int
    losses: int
    p: float


def compare_models(
    values: Mapping[str, Mapping[str, float]], *, rng: np.random.Generator, more_is_better: bool = True
) -> list[Comparison]:
    """Compare each pair of models on one metric of one region.

    Parameters
    ----------
    values : mapping of str to mapping of str to float
        Model -> subject -> value.
    more_is_better : bool
        True for Dice, False for distances.

    Examples
    --------
    >>> import numpy as np
    >>> a = {f"s{n}": 0.9 + n / 1000 for n in range(6)}
    >>> b = {f"s{n}": 0.8 for n in range(6)}
    >>> (found,) = compare_models({"a": a, "b": b}, rng=np.random.default_rng(0))
    >>> round(found.difference.mean, 4), found.wins, found.p
    (0.1025, 6, 0.03125)
    """
    found = []
    for one, other in combinations(values, 2):
        common = [subject for subject in values[one] if subject in values[other]]
        differences = np.array([values[one][subject] - values[other][subject] for subject in common])
        p = float("nan") if not common else 1.0
        if differences.any():
            p = float(stats.wilcoxon(differences).pvalue)
        interval = bootstrap_mean(differences, rng=rng)
        gains = differences if more_is_better else -differences
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        found.append(Comparison(one, other, interval, wins, losses, p))
    return found


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Return P values of a family of tests, adjusted by Holm's step-down method; NaN are kept and not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
