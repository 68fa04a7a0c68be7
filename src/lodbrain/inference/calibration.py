"""What makes a network's certainty honest: a temperature for its posteriors, and intervals around its volumes.

Both are fitted on scans that nothing was trained on (`lodbrain evaluate calibration`) and kept in the model's card, for
each level of the ladder that a scan may end on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lodbrain.errors import WeightsError

#: Doubt below this share of a volume says nothing: intervals do not get narrower than for it.
LEAST_DOUBT = 0.01
#: A temperature beyond this, either way, was not fitted on anything sensible.
_MOST_TEMPERATURE = 10.0


@dataclass(frozen=True)
class Calibration:
    """That of one level.

    Attributes
    ----------
    temperature : float
        Log odds are divided by it: above 1 the network was too sure of itself.
    coverage : float
        Share of true volumes that should lie in their intervals.
    widths : mapping of str to float
        By name of a row of the volumes table, sides left out: half the width of the interval of the logarithm of the
        volume, in units of the doubt. Empty: no intervals are known.

    Notes
    -----
    Voxels err together, so the doubt about a volume is not that of independent voxels. The share of doubtful voxels,
    sum p (1 - p) / sum p, only orders scans from clear to unclear; how much volumes really were off per unit of it was
    measured, and the width is the conformal quantile of that (Lei et al. 2018, Distribution-free predictive inference
    for regression, doi:10.1080/01621459.2017.1307116, section 5.2: residuals scaled by their expected size).
    """

    temperature: float = 1.0
    coverage: float = 0.9
    widths: Mapping[str, float] = field(default_factory=dict)

    def interval(self, name: str, volume: float, doubt: float) -> tuple[float, float] | None:
        """The range that the true volume lies in with probability `coverage`; None where nothing is known of it.

        Parameters
        ----------
        name : str
            Of the row, as in the volumes table.
        volume, doubt : float
            Sums of p and of p (1 - p), in the same unit; the interval is in it, too.
        """
        width = self.widths.get(sideless(name))
        if width is None or volume <= 0:
            return None
        reach = math.exp(min(width * relative_doubt(volume, doubt), 50.0))
        return volume / reach, volume * reach


def relative_doubt(volume: float, doubt: float) -> float:
    """The share of a volume above 0 that is in doubt, at least `LEAST_DOUBT`."""
    return max(LEAST_DOUBT, doubt / volume)


def sideless(name: str) -> str:
    """The name of a structure without its side."""
    return name.removeprefix("Left-").removeprefix("Right-")


def read_calibration(content: Mapping[str, Any]) -> dict[int, Calibration]:
    """The calibrations that a card holds, by the level's exponent; none in a card without.

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
    """What a card holds of calibrations, as `read_calibration` reads it."""
    return {
        str(exponent): {
            "temperature": round(one.temperature, 4),
            "coverage": one.coverage,
            "widths": {name: round(width, 3) for name, width in one.widths.items()},
        }
        for exponent, one in calibrations.items()
    }
