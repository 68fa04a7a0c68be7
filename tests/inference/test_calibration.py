import math

import numpy as np
import pytest

from lodbrain.errors import WeightsError
from lodbrain.inference.calibration import Calibration, read_calibration, write_calibration
from lodbrain.labels import N_CLASSES
from lodbrain.segmentation.volume_table import volumes

PUTAMEN = {"Putamen": 2.0}


def test_interval_widens_with_variance_and_never_vanishes() -> None:
    calibration = Calibration(widths=PUTAMEN)
    low, high = calibration.interval("Left-Putamen", 100.0, 10.0) or (0, 0)
    assert (low, high) == (pytest.approx(100 / math.exp(0.2)), pytest.approx(100 * math.exp(0.2)))
    assert calibration.interval("Right-Putamen", 100.0, 10.0) == (low, high)
    assert calibration.interval("Right-Putamen", 100.0, 0.0) == (pytest.approx(98.02, abs=0.01), pytest.approx(102.02, abs=0.01))  # fmt: skip  # noqa: E501
    assert calibration.interval("Left-Caudate", 100.0, 10.0) is None
    assert calibration.interval("Left-Putamen", 0.0, 0.0) is None
    assert all(map(math.isfinite, calibration.interval("Left-Putamen", 1e-9, 1e9) or ()))


def test_card_keeps_what_was_written() -> None:
    both = {0: Calibration(1.25, 0.9, PUTAMEN), -1: Calibration(0.8, 0.95, {})}
    assert read_calibration(write_calibration(both)) == both
    assert read_calibration({}) == {}


@pytest.mark.parametrize(
    "content",
    [
        {"fine": {"temperature": 1, "coverage": 0.9, "widths": {}}},
        {"0": {"temperature": 1, "coverage": 0.9}},
        {"0": {"temperature": "hot", "coverage": 0.9, "widths": {}}},
        {"0": {"temperature": 0, "coverage": 0.9, "widths": {}}},
        {"0": {"temperature": float("nan"), "coverage": 0.9, "widths": {}}},
        {"0": {"temperature": 1, "coverage": 1.5, "widths": {}}},
        {"0": {"temperature": 1, "coverage": 0.9, "widths": {"TIV": -1}}},
        {"0": {"temperature": 1, "coverage": 0.9, "widths": 3}},
        {"0": 7},
    ],
)
def test_damaged_calibration_is_refused(content: dict) -> None:
    with pytest.raises(WeightsError, match="calibration"):
        read_calibration(content)


def test_volumes_have_intervals_where_something_is_known() -> None:
    soft, variance = np.full(N_CLASSES, 50.0), np.full(N_CLASSES, 5.0)
    rows = volumes(
        np.zeros((1, 1, 1), np.uint8),
        soft,
        model_labels="structures",
        scheme="structures",
        voxel_volume_mm3=2.0,
        variance_vox=variance,
        calibration=Calibration(widths=PUTAMEN),
    )
    known = {row.name: (row.low_mm3, row.high_mm3) for row in rows if row.low_mm3 is not None}
    assert known == {f"{side}-Putamen": (pytest.approx(100 / math.exp(0.2)), pytest.approx(100 * math.exp(0.2))) for side in ("Left", "Right")}  # fmt: skip  # noqa: E501
