import base64
import io

import numpy as np
import pytest
from PIL import Image as Picture

from lodbrain.images import Image
from lodbrain.labels import STRUCTURES
from lodbrain.report.slice_pictures import COUNT, MARK_COLOUR, MARK_OPACITY, PLANES, outline, slices, window_of


def decode(uri: str) -> np.ndarray:
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGBA"))


@pytest.fixture
def scan() -> Image:
    """A bright left half; 2 mm voxels, first voxel at (-40, -50, -60) mm."""
    data = np.zeros((40, 50, 60), np.float32)
    data[:20] = 100.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -40, -50, -60
    return Image(data, affine)


@pytest.fixture
def regions() -> np.ndarray:
    labels = np.zeros((40, 50, 60), np.uint8)
    labels[10:30, 15:35, 20:40] = 10  # left thalamus
    return labels


def test_every_plane_has_its_slices_in_order(scan: Image, regions: np.ndarray) -> None:
    made = slices(scan, regions, STRUCTURES, (0, 100))
    assert [one.plane for one in made] == [plane for plane in PLANES for _ in range(COUNT)]
    for plane, axis in zip(PLANES, (2, 1, 0), strict=True):
        places = [one.mm[axis] for one in made if one.plane == plane]
        assert places == sorted(set(places))
        low = np.array([10, 15, 20])[axis] * 2.0 + scan.affine[axis, 3]
        assert low <= places[0] and places[-1] <= low + 40


def test_left_is_left_and_up_is_up(scan: Image, regions: np.ndarray) -> None:
    scan.data[:, :, 30:] *= 0.5  # the upper half is darker
    coronal = next(one for one in slices(scan, regions, STRUCTURES, (0, 100)) if one.plane == "coronal")
    picture = decode(coronal.scan)[..., 0].astype(int)
    rows, columns = picture.shape
    assert (columns, rows) == coronal.size
    assert picture[-10, 5] > 240 and 110 < picture[10, 5] < 145 and picture[10, -5] < 10


def test_outlines_have_the_colour_of_the_label_and_leave_its_middle_free(scan: Image, regions: np.ndarray) -> None:
    axial = slices(scan, regions, STRUCTURES, (0, 100))[COUNT // 2]
    picture = decode(axial.outlines)
    seen = picture[..., 3] > 0
    assert {tuple(colour) for colour in picture[seen][:, :3].tolist()} == {(0, 118, 14)}
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1) == (80, 80)  # 20 voxels of 2 mm, 2 pixels a mm
    assert not seen[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]].any()


def test_touching_labels_are_outlined_on_both_sides() -> None:
    labels = np.repeat(np.array([[1, 1, 1, 2, 2, 2]], np.uint8), 3, axis=0)
    np.testing.assert_array_equal(outline(labels)[1], [0, 0, 1, 2, 0, 0])


def test_without_labels_the_whole_scan_is_shown(scan: Image) -> None:
    made = slices(scan, np.zeros(scan.shape, np.uint8), STRUCTURES, (0, 100))
    assert made[0].size == (160, 200)


def test_the_window_of_a_flat_scan_is_not_empty() -> None:
    black, white = window_of(np.full((4, 4, 4), 7.0, np.float32))
    assert black == 7 and white > black


def test_marks_lie_where_they_are_in_the_scan_and_let_it_shine_through(scan: Image, regions: np.ndarray) -> None:
    marked = np.zeros(regions.shape, bool)
    marked[12:15, 18:22] = True  # in all axial slices
    made = slices(scan, regions, STRUCTURES, (0, 100), marked=marked)
    axial = made[COUNT // 2]
    picture = decode(axial.marks)
    assert picture.shape[:2] == axial.size[::-1] == decode(axial.scan).shape[:2]
    seen = picture[..., 3] > 0
    assert {tuple(pixel) for pixel in picture[seen].tolist()} == {(*MARK_COLOUR, MARK_OPACITY)}
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    # the box begins 12 mm outside of the label, 6 voxels; 4 pixels a voxel, rows from the top
    assert (columns[0], columns[-1] + 1) == (4 * (12 - 4), 4 * (15 - 4))
    assert (rows[0], rows[-1] + 1) == (4 * (41 - 22), 4 * (41 - 18))
    assert all(one.marks == "" for one in slices(scan, regions, STRUCTURES, (0, 100)))
