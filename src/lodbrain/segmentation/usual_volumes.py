"""Reference ranges of volumes from 20 heads, relative to the brain.

The table `resources/reference_volumes.tsv` was derived from SynthSeg's 20 label maps of whole heads (Apache-2.0) by
`benchmarks/usual_volumes.py`. It gives ranges for segmentations of that protocol; it is not normative for age or
sex. Volumes are relative to the brain, not to the intracranial volume, because these ratios vary less in the 20 heads
(for 23 of 32 structures), and because skull-stripped scans do not show the skull.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

#: Source of the reference values, for reports.
SOURCE = "20 whole-head label maps of SynthSeg (Billot et al. 2023), as shares of the brain"

#: Student's t, 97.5%, 19 degrees of freedom, times sqrt(1 + 1/20): 95% of further heads of the same population lie
#: within this many standard deviations of the mean.
USUAL_SD = 2.0930 * math.sqrt(1 + 1 / 20)


@dataclass(frozen=True)
class Reference:
    """Reference distribution of one volume.

    Attributes
    ----------
    name : str
        Row of a volumes table.
    relative_to : str
        ``"brain"``: the volume is divided by the brain's; ``"mm3"``: it is not divided.
    mean_log, sd_log : float
        Mean and standard deviation of the natural logarithm.
    """

    name: str
    relative_to: str
    mean_log: float
    sd_log: float
    n: int

    def z(self, value: float) -> float:
        """Return the z-score of a volume (divided according to `relative_to`); -inf for a volume of 0."""
        return (math.log(value) - self.mean_log) / self.sd_log if value > 0 else -math.inf

    def usual(self, whole: float) -> tuple[float, float]:
        """Return the limits of the reference range, times `whole`: the brain's volume, or 1 for absolute volumes."""
        low, high = (math.exp(self.mean_log + sign * USUAL_SD * self.sd_log) for sign in (-1, 1))
        return low * whole, high * whole


@cache
def references() -> Mapping[str, Reference]:
    """Return the table of references, by name."""
    text = resources.files("lodbrain").joinpath("resources", "reference_volumes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    found = (Reference(name, to, float(mean), float(sd), int(n)) for name, to, mean, sd, n in rows)
    return {row.name: row for row in found}


def reference_of(name: str, volumes_mm3: Mapping[str, float]) -> tuple[Reference, float] | None:
    """Return the reference for a row of a volumes table, and the volume in mm^3 that it is relative to (1 for none).

    Parameters
    ----------
    volumes_mm3 : mapping of str to float
        All rows; without the brain, only the brain and TIV have references.

    Examples
    --------
    >>> row, whole = reference_of("Left-Putamen", {"Left-Putamen": 5000.0, "brain": 1.2e6})
    >>> row.relative_to, whole, abs(row.z(5000.0 / whole)) < 2
    ('brain', 1200000.0, True)
    """
    row = references().get(name)
    if row is None or row.relative_to == "mm3":
        return None if row is None else (row, 1.0)
    whole = volumes_mm3.get(row.relative_to, 0.0)
    return (row, whole) if whole > 0 else None
