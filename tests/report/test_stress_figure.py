from pathlib import Path

import pytest
from matplotlib.image import imread

from lodbrain.report.stress_figure import Panel, stress_figure

PANELS = [
    Panel(name, "mm", {"default": ([0, 1, 2], [0.9, 0.8, 0.4]), "<other> $x_1$": ([0, 1, 2], [0.9, float("nan"), 0.6])})
    for name in ("noise", "motion", "contrast", "rotation", "field of view")
]


def test_figure_is_the_same_as_png_and_svg_and_names_every_line(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a.svg"]
    stress_figure(PANELS, paths, threshold=0.7, title="Dice & <more>")
    assert imread(paths[0]).shape[1] == pytest.approx(4 * 3.1 * 110, abs=2)
    svg = paths[1].read_text()
    assert svg.count('id="axes_') == 8  # five panels in two rows of four
    assert "<script" not in svg
    assert "<other>" not in svg  # escaped, if it is text at all


def test_no_panels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="panels must be some"):
        stress_figure([], [tmp_path / "a.png"], threshold=0.7, title="")
