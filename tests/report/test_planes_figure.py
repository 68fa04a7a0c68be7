from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lodbrain.images.grid import Reorientation
from lodbrain.images.image import Image
from lodbrain.labels import Label
from lodbrain.report.planes_figure import three_planes

LEFT, RIGHT = Label(1, "Left", (255, 0, 0)), Label(2, "Right", (0, 0, 255))
TABLE = (Label(0, "Background", (0, 0, 0)), LEFT, RIGHT)


def ball(spacing_mm: tuple[float, float, float], *, radius_mm: float = 40) -> tuple[Image, np.ndarray]:
    """A bright ball in the air, in RAS order; its left half is 1, its right half 2, its core an unknown 9."""
    shape = [int(120 / side) for side in spacing_mm]
    grids = np.meshgrid(*[(np.arange(n) + 0.5) * s - 60 for n, s in zip(shape, spacing_mm, strict=True)], indexing="ij")
    inside = sum(grid**2 for grid in grids) < radius_mm**2
    labels = np.where(inside, np.where(grids[0] < 0, 1, 2), 0)
    labels[inside & (np.abs(grids[2]) < 12) & (np.abs(grids[1]) < 12)] = 9
    return Image(np.where(inside, 100, 0).astype(np.float32), np.diag([*spacing_mm, 1.0])), labels


def picture(image: Image, labels: np.ndarray, folder: Path) -> np.ndarray:
    """(rows, columns, 3) float of the PNG, 0..1."""
    three_planes(image, labels, folder / "picture.png", table=TABLE)
    return imread(folder / "picture.png")[..., :3]


def coloured(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the reddish and the bluish pixels."""
    return pixels[..., 0] > pixels[..., 2] + 0.2, pixels[..., 2] > pixels[..., 0] + 0.2


def test_left_is_on_the_left_and_colours_are_in_the_lower_row_only(tmp_path: Path) -> None:
    pixels = picture(*ball((1, 1, 1)), tmp_path)
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 3
    red, blue = coloured(pixels)
    assert not red[:rows].any() and not blue[:rows].any()
    for panel in (0, 1):  # axial, coronal
        across = slice(panel * columns, (panel + 1) * columns)
        red_columns, blue_columns = (np.flatnonzero(mask[:, across].any(axis=0)) for mask in (red, blue))
        assert red_columns.size > 50 and blue_columns.size > 50
        assert red_columns.max() <= blue_columns.min() + 1
    assert red[:, 2 * columns :].any() and not blue[:, 2 * columns :].any()  # the sagittal slice lies in the left half


def test_numbers_without_a_colour_stay_grey(tmp_path: Path) -> None:
    pixels = picture(*ball((1, 1, 1)), tmp_path)
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 3
    assert np.ptp(pixels[rows + rows // 2, columns // 2]) == 0


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.8, 1.2, 3), (2, 0.7, 1)])
def test_a_ball_is_round_whatever_the_voxels(spacing_mm: tuple[float, float, float], tmp_path: Path) -> None:
    pixels = picture(*ball(spacing_mm), tmp_path)
    red, blue = coloured(pixels)
    columns = pixels.shape[1] // 3
    for panel in (0, 1):
        mask = (red | blue)[:, panel * columns : (panel + 1) * columns]
        width, height = np.ptp(np.flatnonzero(mask.any(axis=0))), np.ptp(np.flatnonzero(mask.any(axis=1)))
        assert width == pytest.approx(height, rel=0.06)
        # 12 inches of 110 dots show three times the ball and 5 mm of air on both sides
        assert width == pytest.approx(12 * 110 / 3 * 80 / 90, rel=0.06)


@pytest.mark.parametrize(
    ("axes", "flipped"),
    [((0, 1, 2), (True, False, False)), ((2, 0, 1), (False, True, True)), ((1, 2, 0), (True, True, True))],
)
def test_every_orientation_gives_the_same_picture(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    image, labels = ball((1, 1.5, 2))
    turn = Reorientation(axes, flipped)
    turned = Image(turn.apply(image.data), turn.affine(image.affine, image.shape))
    np.testing.assert_array_equal(picture(turned, turn.apply(labels), tmp_path), picture(image, labels, tmp_path))


def test_an_oblique_scan_is_drawn_along_its_own_axes(tmp_path: Path) -> None:
    image, labels = ball((1, 1, 2))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    oblique = Image(image.data, turn @ image.affine)
    np.testing.assert_array_equal(picture(oblique, labels, tmp_path), picture(image, labels, tmp_path))


def test_a_scan_without_labels_is_drawn_too(tmp_path: Path) -> None:
    image, labels = ball((1, 1, 1))
    red, blue = coloured(picture(image, np.zeros_like(labels), tmp_path))
    assert not red.any() and not blue.any()


def test_a_title_adds_a_line(tmp_path: Path) -> None:
    image, labels = ball((1, 1, 1))
    plain = picture(image, labels, tmp_path)
    three_planes(image, labels, tmp_path / "titled.png", table=TABLE, title="<1> $\\bad{$ scan <1> $x$ & größer größer")
    titled = imread(tmp_path / "titled.png")[..., :3]
    assert titled.shape[0] == plain.shape[0] + 44  # 0.4 inches of 110 dots


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    image, labels = ball((1, 1, 1))
    with pytest.raises(ValueError, match=r"labels must be on the scan's grid \(120, 120, 120\), got \(119, 120, 120\)"):
        three_planes(image, labels[1:], tmp_path / "picture.png", table=TABLE)
    assert list(tmp_path.iterdir()) == []
