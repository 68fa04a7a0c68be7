from itertools import permutations, product
from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.labelmaps import label_scores
from lodbrain.labelmaps.upsample import upsample, upsample_codes, upsample_image
from lodbrain.synthesis.label_map import BRAIN_CODES, DISTANCE_STEP_MM, LabelMap


def _balls(side: int = 24, scale: float = 1.0) -> np.ndarray:
    """(side, side, side) int16: a ball of radius 8.3 in one of radius 10.4, off the centre."""
    at = np.arange(side) / scale - 11.6
    radius = np.sqrt(at[:, None, None] ** 2 + at[None, :, None] ** 2 + at[None, None, :] ** 2)
    return np.select([radius < 8.3, radius < 10.4], [17, 3]).astype(np.int16)


def _codes() -> torch.Tensor:
    return torch.from_numpy(np.select([_balls() == 17, _balls() == 3], [7, 2]).astype(np.uint8))


def _pieces(mask: np.ndarray, connectivity: int) -> int:
    return int(cc3d.connected_components(mask.astype(np.uint8), connectivity=connectivity, return_N=True)[1])


def _noise(shape: tuple[int, int, int], labels: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, labels, shape).astype(np.uint8)


def test_factor_one_is_the_map_itself() -> None:
    codes = _codes()
    out = upsample_codes(codes, 1)
    assert torch.equal(out, codes)
    assert out is not codes


@pytest.mark.parametrize("factor", [2, 3])
def test_volumes_are_kept_and_no_label_is_invented(factor: int) -> None:
    codes = _codes()
    out = upsample_codes(codes, factor)
    assert out.shape == (24 * factor,) * 3
    assert set(out.unique().tolist()) == {0, 2, 7}
    for code in (2, 7):
        assert int((out == code).sum()) / factor**3 == pytest.approx(int((codes == code).sum()), rel=0.01)


def test_flat_boundary_stays_where_it_is() -> None:
    codes = torch.zeros(10, 8, 8, dtype=torch.uint8)
    codes[4:] = 5
    assert torch.equal(upsample_codes(codes, 2), codes.repeat_interleave(2, 0).repeat(1, 2, 2))


def test_steps_become_smooth() -> None:
    at = torch.arange(20)
    codes = (at[:, None] + at[None, :] < 20).to(torch.uint8)[..., None].repeat(1, 1, 6)
    blocks, out = codes.repeat_interleave(4, 0).repeat_interleave(4, 1)[..., 3], upsample_codes(codes, 4)[..., 12]
    fine = torch.arange(80)
    line = (fine[:, None] + fine[None, :] < 81).to(torch.uint8)  # the diagonal through the middle of the steps
    inner = (slice(8, 72), slice(8, 72))
    assert int((out != line)[inner].sum()) < 0.6 * int((blocks != line)[inner].sum())


def test_ball_is_nearer_to_the_true_ball_than_its_blocks_are() -> None:
    codes = torch.from_numpy(_balls().astype(np.uint8))
    at = (np.arange(72) + 0.5) / 3 - 0.5 - 11.6
    radius = np.sqrt(at[:, None, None] ** 2 + at[None, :, None] ** 2 + at[None, None, :] ** 2)
    true = radius < 8.3
    blocks = codes.repeat_interleave(3, 0).repeat_interleave(3, 1).repeat_interleave(3, 2)
    wrong = [np.count_nonzero((map_.numpy() == 17) != true) for map_ in (upsample_codes(codes, 3), blocks)]
    assert wrong[0] < 0.55 * wrong[1]


def test_coordinates_in_mm_stay(head: LabelMap) -> None:
    fine = upsample(head, 2)
    assert fine.spacing_mm.tolist() == [2, 2, 2]
    assert torch.equal(fine.brain_box_mm, head.brain_box_mm)
    at = [np.argwhere(np.isin(labels.codes.numpy(), BRAIN_CODES)) for labels in (head, fine)]
    for labels, places in zip((head, fine), at, strict=True):
        box = np.stack([places.min(0), places.max(0) + 1]) * labels.spacing_mm.numpy()
        np.testing.assert_allclose(box, head.brain_box_mm.numpy(), atol=4)
    # Smoothing moves the surface by less than a voxel of the coarse map, on which the distance was measured.
    brain = torch.from_numpy(np.isin(fine.codes.numpy(), BRAIN_CODES))
    assert float(fine.distance[brain].max()) * DISTANCE_STEP_MM <= 4
    assert torch.equal(fine.distance[1::2, ::2, 1::2], head.distance)


def test_equal_voxel_size_is_the_identity() -> None:
    turn = np.array([[0.96, -0.28, 0, 3], [0.28, 0.96, 0, -7], [0, 0, -1, 2], [0, 0, 0, 1.0]])
    image = Image(_balls(), turn @ np.diag([0.7, 0.7, 0.7, 1]), notes=("kept",))
    same = upsample_image(image, 0.7).image
    assert same.data.tobytes() == image.data.tobytes()
    assert same.affine.tolist() == image.affine.tolist()
    assert same.notes == ("kept",)


@pytest.mark.parametrize("voxel_mm", [0.6, 0.7, 1.5])
def test_volumes_are_kept_within_one_percent_at_other_ratios(voxel_mm: float) -> None:
    result = upsample_image(Image(_balls(), np.eye(4)), voxel_mm)
    assert result.image.data.dtype == np.int16
    assert set(np.unique(result.image.data).tolist()) == {0, 3, 17}
    assert [row.index for row in result.volumes] == [3, 17]
    for row in result.volumes:
        assert row.before_mm3 == np.count_nonzero(_balls() == row.index)
        assert row.after_mm3 == pytest.approx(np.count_nonzero(result.image.data == row.index) * voxel_mm**3)
        assert row.after_mm3 == pytest.approx(row.before_mm3, rel=0.01)


def test_cuboid_whose_sides_are_no_whole_number_of_new_voxels_keeps_its_volume() -> None:
    data = np.zeros((24, 24, 24), np.int16)
    data[6:16, 5:15, 7:17] = 10
    for voxel_mm in (0.6, 0.7, 0.8, 0.45, 1.4):
        row = upsample_image(Image(data, np.eye(4)), voxel_mm).volumes[0]
        assert row.after_mm3 == pytest.approx(1000, rel=0.01)


def test_thin_sheet_and_thin_line_keep_volume_and_wholeness() -> None:
    data = np.zeros((40, 40, 40), np.int16)
    data[5:35, 5:35, 20] = 3  # 900 mm^3, one voxel thick
    data[8, 5:35, 10] = data[30, 5, 5:19] = 2  # lines of one voxel, too small for their volume to count
    fine = upsample_image(Image(data, np.eye(4)), 0.6)
    sheet = next(row for row in fine.volumes if row.index == 3)
    assert sheet.after_mm3 == pytest.approx(900, rel=0.01)
    assert _pieces(fine.image.data == 3, 6) == 1
    assert _pieces(fine.image.data == 2, 6) == 2
    # The sheet still parts what lies on either side of it.
    inner = fine.image.data[10:56, 10:56] != 3
    assert _pieces(inner, 6) == 2


@pytest.mark.parametrize("connectivity", [6, 26])
@pytest.mark.parametrize("factor", [2, 3])
def test_no_label_falls_into_more_pieces(factor: int, connectivity: int) -> None:
    codes = _noise((9, 8, 7))
    out = upsample_codes(torch.from_numpy(codes), factor).numpy()
    for code in range(4):
        assert _pieces(out == code, connectivity) <= _pieces(codes == code, connectivity)


def test_every_old_voxel_keeps_its_label_at_its_centre() -> None:
    codes = _noise((6, 7, 5))
    assert np.array_equal(upsample_codes(torch.from_numpy(codes), 3).numpy()[1::3, 1::3, 1::3], codes)


def test_flipped_map_gives_the_flipped_result() -> None:
    codes = torch.from_numpy(np.select([_balls() == 17, _balls() == 3], [2, 1]).astype(np.uint8))
    for factor in (2, 3):
        assert torch.equal(upsample_codes(codes.flip(0), factor), upsample_codes(codes, factor).flip(0))


def test_blocks_change_nothing() -> None:
    at = np.arange(48)
    blobs = np.sin(at[:, None, None] / 3) + np.sin(at[None, :, None] / 4) + np.sin(at[None, None, :] / 5)
    labels = np.digitize(blobs + np.random.default_rng(0).normal(0, 0.3, blobs.shape), [-1, 0.2, 1]).astype(np.int16)
    image = Image(labels[:30, :26, :22], np.diag([1.0, 1.0, 1.2, 1.0]))
    whole = upsample_image(image, 0.7, block_voxels=10**9).image.data
    for block_voxels in (13**3, 20**3):
        assert np.array_equal(upsample_image(image, 0.7, block_voxels=block_voxels).image.data, whole)


def test_outer_corner_of_the_field_of_view_stays_in_every_orientation() -> None:
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
    data = _balls()[:, :23, :22]
    for order, signs in list(product(permutations(range(3)), product((-1, 1), repeat=3)))[::5]:
        affine = np.eye(4)
        affine[:3, :3] = turn @ (np.eye(3)[:, order] * signs) * [1.0, 1.1, 0.9]
        affine[:3, 3] = [11, -5, 3]
        fine = upsample_image(Image(data, affine), 0.8, block_voxels=10**9).image
        np.testing.assert_allclose(fine.spacing_mm, 0.8)
        np.testing.assert_allclose(fine.affine @ [-0.5, -0.5, -0.5, 1], affine @ [-0.5, -0.5, -0.5, 1])
        far = [np.array([*np.array(im.shape) - 0.5, 1]) for im in (fine, Image(data, affine))]
        assert np.abs(np.linalg.solve(fine.affine, affine @ far[1]) - far[0])[:3].max() <= 0.5001
        # The ball stays where it was in space.
        centres = [im.affine[:3] @ [*np.argwhere(im.data == 17).mean(0), 1] for im in (fine, Image(data, affine))]
        np.testing.assert_allclose(*centres, atol=0.05)


def test_axis_of_equal_voxel_size_is_left_alone() -> None:
    image = Image(_balls(), np.diag([1, 1, 2.0, 1]))
    fine = upsample_image(image, 1.0).image
    assert fine.shape == (24, 24, 48)
    # The cores of the slices are the slices themselves; towards the middle of the axis, as there are two of them.
    assert np.array_equal(fine.data[:, :, 1:24:2], image.data[:, :, :12])
    assert np.array_equal(fine.data[:, :, 24::2], image.data[:, :, 12:])


@pytest.mark.parametrize("voxel_mm", [0.0, -1.0, float("nan"), float("inf"), 0.01, 11.0])
def test_impossible_voxel_size_is_refused(voxel_mm: float) -> None:
    with pytest.raises(ValueError, match="voxel size must be"):
        upsample_image(Image(_balls(), np.eye(4)), voxel_mm)


def test_what_is_no_label_map_is_refused() -> None:
    random = np.random.default_rng(0)
    scans = {
        "different values": random.integers(0, 4000, (12, 12, 12)).astype(np.int16),
        "neighbours are equal": random.integers(0, 200, (12, 12, 12)).astype(np.int16),
        "no label but 0": np.zeros((12, 12, 12), np.int16),
        "float32": np.ones((12, 12, 12), np.float32),
    }
    for what, data in scans.items():
        with pytest.raises(InputError, match=what):
            upsample_image(Image(data, np.eye(4)), 0.6, name="scan.nii")


def test_too_many_voxels_are_refused_before_anything_is_allocated() -> None:
    data = np.zeros((3, 3, 3), np.int16)
    data[1] = 2
    with pytest.raises(InputError, match=r"3000 x 3000 x 3000 voxels"):
        upsample_image(Image(data, np.diag([100.0, 100.0, 100.0, 1.0])), 0.1)


@pytest.mark.data
@pytest.mark.slow
def test_real_map_keeps_volumes_and_pieces(data_dir: Path) -> None:
    from lodbrain.images.io import read_labels

    image = read_labels(data_dir / "labelmaps" / "training_seg_01.nii.gz")
    fine = upsample_image(image, 0.7)
    for row in fine.volumes:
        if row.before_mm3 >= 500:
            assert row.after_mm3 == pytest.approx(row.before_mm3, rel=0.01), row.index
    for index in (2, 3, 41, 42):
        for connectivity in (6, 26):
            assert _pieces(fine.image.data == index, connectivity) <= _pieces(image.data == index, connectivity)


def test_threads_and_what_is_kept_between_passes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    codes = random.integers(0, 5, (9, 9, 9), np.uint8).repeat(4, 0).repeat(4, 1).repeat(4, 2)[:33, :35]
    image = Image(codes.astype(np.int16), np.eye(4))
    results = []
    for threads, room in ((1, 1 << 29), (3, 1 << 29), (2, 0), (2, 1 << 20)):
        monkeypatch.setattr(label_scores, "KEPT_BYTES", room)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(upsample_image(image, 0.5, block_voxels=20**3).image.data)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_progress_of_an_upsampled_map_is_told() -> None:
    codes = torch.zeros((8, 8, 8), dtype=torch.uint8)
    codes[2:6, 2:6, 2:6] = 1
    shares: list[float] = []
    upsample_codes(codes, 2, progress=lambda share, text: shares.append(share))
    assert shares == sorted(shares)
    assert len(shares) > 0
