"""Calibration of a model: temperature of its posteriors, and prediction intervals of its volumes.

Both are fitted on scans held out from training (`lodbrain evaluate calibration`) and stored in the model's card, for
each level that can be the finest for a scan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lodbrain.errors import WeightsError

#: Lower bound of the relative posterior variance: smaller values carry no information, so intervals get no narrower.
LEAST_VARIANCE = 0.01
#: Largest plausible temperature; the smallest is its inverse.
_MOST_TEMPERATURE = 10.0


@dataclass(frozen=True)
class Calibration:
    """Calibration of one level.

    Attributes
    ----------
    temperature : float
        Divisor of the logits; above 1 the uncalibrated network was overconfident.
    coverage : float
        Nominal share of true volumes that lie in their intervals.
    widths : mapping of str to float
        Half the width of the interval of the logarithm of the volume, in units of the relative posterior variance, by
        name of a row of the volumes table without its side. Empty if the model has no intervals.

    Notes
    -----
    Errors of voxels are correlated, so the error of a volume does not follow from independent voxels. The relative
    posterior variance, sum p (1 - p) / sum p, only ranks scans from certain to uncertain. The error of volumes per unit
    of it was measured, and the width is its conformal quantile (Lei et al. 2018, Distribution-free predictive inference
    for regression, doi:10.1080/01621459.2017.1307116, section 5.2: residuals scaled by their expected size).
    """

    temperature: float = 1.0
    coverage: float = 0.9
    widths: Mapping[str, float] = field(default_factory=dict)

    def interval(self, name: str, volume: float, variance: float) -> tuple[float, float] | None:
        """Return the range that holds the true volume with probability `coverage`; None if the row has no interval.

        Parameters
        ----------
        volume, variance : float
            Sums of p and of p (1 - p), in the same unit, which is also that of the interval.
        """
        width = self.widths.get(sideless(name))
        if width is None or volume <= 0:
            return None
        reach = math.exp(min(width * relative_variance(volume, variance), 50.0))
        return volume / reach, volume * reach


def relative_variance(volume: float, variance: float) -> float:
    """Return the posterior variance of a volume above 0 relative to the volume, at least `LEAST_VARIANCE`."""
    return max(LEAST_VARIANCE, variance / volume)


def sideless(name: str) -> str:
    """Return the name of a structure without its side."""
    return name.removeprefix("Left-").removeprefix("Right-")


def read_calibration(content: Mapping[str, Any]) -> dict[int, Calibration]:
    """Return the calibrations in a card, by the level's exponent; empty if the card has none.

    Raises
    ------
    WeightsError
        ``"card"`` if they are not what `write_calibration` writes.
    """
    try:
        found = {
            int(exponent): Calibration(
                float(row["temperature"]),
                float(row["coverage"]),
                {str(name): float(width) for name, width in row["widths"].items()},
            )
            for exponent, row in content.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError("card", None, f"the model's calibration cannot be read ({error!r})") from None
    for one in found.values():
        sound = 1 / _MOST_TEMPERATURE <= one.temperature <= _MOST_TEMPERATURE and 0 < one.coverage < 1
        if not sound or not all(math.isfinite(width) and width >= 0 for width in one.widths.values()):
            raise WeightsError("card", None, "the model's calibration is out of range")
    return found


def write_calibration(calibrations: Mapping[int, Calibration]) -> dict[str, Any]:
    """Return calibrations as a card stores them, in the form that `read_calibration` reads."""
    return {
        str(exponent): {
            "temperature": round(one.temperature, 4),
            "coverage": one.coverage,
            "widths": {name: round(width, 3) for name, width in one.widths.items()},
        }
        for exponent, one in calibrations.items()
    }
