import base64
import gzip
from pathlib import Path

import numpy as np
import pytest

from lodbrain.images import Image, read_image, read_labels
from lodbrain.labels import STRUCTURES
from lodbrain.report.embedded_volume import GREY_LEVELS, embed

AFFINE = np.array([[0.8, 0.1, 0, -30], [-0.1, 0.9, 0, -40], [0, 0, 1.1, -50], [0, 0, 0, 1.0]])


@pytest.fixture
def scan() -> Image:
    x, y, z = np.mgrid[:70, :80, :60]
    return Image((x + y + z).astype(np.float32), AFFINE)


@pytest.fixture
def regions() -> np.ndarray:
    labels = np.zeros((70, 80, 60), np.uint8)
    labels[30:40, 35:50, 25:35] = 12
    labels[30:33, 35:50, 25:35] = 13
    return labels


def unpacked(text: str, path: Path) -> Path:
    path.write_bytes(base64.b64decode(text))
    assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"
    return path


def test_what_is_embedded_lies_where_it_lay(scan: Image, regions: np.ndarray, tmp_path: Path) -> None:
    made = embed(scan, regions, STRUCTURES, (0, 200))
    labels = read_labels(unpacked(made.labels, tmp_path / "labels.nii.gz"))
    image = read_image(unpacked(made.scan, tmp_path / "scan.nii.gz"))
    assert not made.reduced
    assert labels.shape == image.shape and np.prod(labels.shape) < regions.size
    for index in (12, 13):
        here = labels.affine @ [*np.argwhere(labels.data == index).mean(0), 1]
        there = AFFINE @ [*np.argwhere(regions == index).mean(0), 1]
        np.testing.assert_allclose(here, there, atol=1e-3)
    # grey values: GREY_LEVELS steps between black and white
    x, y, z = np.rint(np.linalg.inv(AFFINE) @ image.affine @ [0, 0, 0, 1])[:3].astype(int)
    cut = scan.data[x : x + image.shape[0], y : y + image.shape[1], z : z + image.shape[2]]
    np.testing.assert_allclose(image.data / (GREY_LEVELS - 1) * GREY_LEVELS / 256 * 200, cut, atol=200 / GREY_LEVELS)
    assert len(np.unique(image.data)) <= GREY_LEVELS


def test_a_large_scan_is_averaged_and_stays_in_place(scan: Image, regions: np.ndarray, tmp_path: Path) -> None:
    made = embed(scan, regions, STRUCTURES, (0, 200), most_voxels=9000)
    labels = read_labels(unpacked(made.labels, tmp_path / "labels.nii.gz"))
    image = read_image(unpacked(made.scan, tmp_path / "scan.nii.gz"))
    assert made.reduced and 0.8 * 9000 < np.prod(labels.shape) < 1.1 * 9000
    sides = np.array(made.spacing_mm)
    assert sides.max() / sides.min() < 1.1
    for index, off in ((12, 0.5), (13, 1.0)):
        here = labels.affine @ [*np.argwhere(labels.data == index).mean(0), 1]
        there = AFFINE @ [*np.argwhere(regions == index).mean(0), 1]
        assert np.abs(here - there).max() < off * sides.max()
    # a ramp, averaged, is the same ramp
    centres = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1) + 0.0
    world = centres @ image.affine[:3, :3].T + image.affine[:3, 3]
    voxels = (world - AFFINE[:3, 3]) @ np.linalg.inv(AFFINE[:3, :3]).T
    inside = tuple(slice(1, -1) for _ in range(3))
    grey = image.data / (256 // GREY_LEVELS * (GREY_LEVELS - 1)) * 200
    np.testing.assert_allclose(grey[inside], voxels.sum(-1)[inside], atol=200 / GREY_LEVELS)


def test_targets_lie_inside_their_labels(scan: Image, regions: np.ndarray) -> None:
    regions[2:60, 2, 2:50] = 3  # bent: its centre of mass is in no voxel of it
    regions[2, 2:60, 2:50] = 3
    targets = embed(scan, regions, STRUCTURES, (0, 200)).targets
    assert set(targets) == {3, 12, 13}
    for index, mm in targets.items():
        voxel = np.rint(np.linalg.inv(AFFINE) @ [*mm, 1])[:3].astype(int)
        assert regions[tuple(voxel)] == index


def test_a_place_in_a_large_thin_structure_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lodbrain.report.embedded_volume._ENOUGH_VOXELS", 30)
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[np.arange(40), np.arange(40), np.arange(40)[::-1]] = 3
    labels[5:35, 5:20, 2:5] = 42
    labels[1, 0, 0] = 12
    labels[1, 38, 37] = 12
    targets = embed(Image(labels.astype(np.float32), np.eye(4)), labels, STRUCTURES, (0, 50)).targets
    assert set(targets) == {3, 12, 42}
    assert all(labels[tuple(np.rint(mm).astype(int))] == index for index, mm in targets.items())


def test_the_same_scan_gives_the_same_text(scan: Image, regions: np.ndarray) -> None:
    first, second = (embed(scan, regions, STRUCTURES, (0, 200)) for _ in range(2))
    assert (first.scan, first.labels) == (second.scan, second.labels)
