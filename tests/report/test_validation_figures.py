from pathlib import Path

import numpy as np
from matplotlib.image import imread

from lodbrain.evaluation.quality_fit import agreement
from lodbrain.report.validation_figures import quality_figure


def test_points_and_roc_are_drawn_and_without_failures_points_alone(tmp_path: Path) -> None:
    score, dice = np.array([0.9, 0.8, 0.5, 0.6]), np.array([0.85, 0.8, 0.4, 0.75])
    quality_figure(score, dice, agreement(score, dice), tmp_path / "a.png", title="a")
    good = dice + 0.3
    quality_figure(score, good, agreement(score, good), tmp_path / "b.png", title="b")
    one, other = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    assert one.shape == other.shape
    orange = (np.abs(one[..., :3] - np.array([0.835, 0.369, 0.0])).max(-1) < 0.02).sum()
    assert orange > 50  # the ROC
    assert (np.abs(other[..., :3] - np.array([0.835, 0.369, 0.0])).max(-1) < 0.02).sum() == 0
