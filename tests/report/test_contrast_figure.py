from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lodbrain.contrast_analysis.analysis import ScanFit, analyse
from lodbrain.report.contrast_figure import contrast_figure


@pytest.fixture(scope="module")
def fit() -> ScanFit:
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 30, 30), int)
    labels[3:27, 3:27, 3:27], labels[8:22, 8:22, 8:22] = 2, 1
    return analyse(np.array([0.0, 200, 100])[labels] + rng.normal(0, 4, labels.shape), np.full(3, 2.0), labels)


def test_each_scan_has_a_panel(fit: ScanFit, tmp_path: Path) -> None:
    contrast_figure([fit], ["one $"], tmp_path / "one.png")
    contrast_figure([fit] * 4, list("abcd"), tmp_path / "four.png")
    one, four = imread(tmp_path / "one.png"), imread(tmp_path / "four.png")
    assert four.shape[1] == 3 * one.shape[1]
    assert four.shape[0] > 1.8 * one.shape[0]
    assert (four[..., :3] < 0.5).any(axis=(1, 2)).mean() > 0.3  # lines, not an empty sheet


def test_fits_without_names_are_refused(fit: ScanFit, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fits and names must be as many, and some, got 1 and 0"):
        contrast_figure([fit], [], tmp_path / "none.png")
