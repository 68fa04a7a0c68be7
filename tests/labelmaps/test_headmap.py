from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.labelmaps.headmap import (
    AIR,
    BONE,
    CSF,
    EYE,
    HEAD_LABELS,
    MARROW,
    SKIN,
    SOFT,
    HeadMap,
    check_sides,
    make_head_map,
    thresholds,
)  # fmt: skip
from lodbrain.labelmaps.headmask import head_mask
from lodbrain.synthesis.label_map import RAW_LABELS, load

VOXEL_MM = 3.0
SHAPE = (60, 72, 64)

#: Raw label: intensity, on a scale where white matter is 100.
LOOKS = {0: 0, 2: 100, 41: 100, 3: 70, 42: 70, 24: 20, 4: 15, 43: 15, 506: 22, 507: 60, 511: 150, 515: 8}

AFFINE = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
SPACING = np.full(3, VOXEL_MM)


def phantom(*, noise: float = 1.0, stripped: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(60, 72, 64) float32 intensities and int16 labels, RAS: scalp 511, muscle 507, bone 515, eyes 506, brain."""
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * VOXEL_MM for n in SHAPE), indexing="ij")
    z = z - 15

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1

    labels = np.zeros(SHAPE, np.int16)
    neck = (np.hypot(x, y + 5) < 55) & (z < 0)
    labels[ball(0, 0, 0, 80, 97, 77) | neck | ball(0, 25, -45, 62, 72, 40)] = 511
    labels[ball(0, 0, 0, 74, 91, 71) | (np.hypot(x, y + 5) < 49) & (z < 0) | ball(0, 25, -45, 56, 66, 34)] = 507
    labels[ball(0, -5, 3, 70, 83, 67)] = 515
    for side in (-1, 1):
        labels[ball(side * 32, 72, -44, 12.5, 12.5, 12.5)] = 506
    labels[ball(0, -5, 3, 62, 75, 60)] = 24
    left = x < 0
    for radii, pair in (((58, 71, 56), (3, 42)), ((50, 63, 48), (2, 41)), ((12, 30, 10), (4, 43))):
        inside = ball(0, -5, 3, *radii)
        labels[inside] = np.where(left, *pair)[inside]
    scan = np.vectorize(LOOKS.get, otypes=[np.float32])(labels)
    if stripped:
        scan[labels >= 500] = 0
    grain = np.random.default_rng(0).normal(0, noise, (2, *SHAPE))
    scan = np.hypot(scan + grain[0], grain[1]) if not stripped else scan + grain[0] * (scan > 0)
    return scan.astype(np.float32), labels


def brain_only(labels: np.ndarray) -> np.ndarray:
    """What a segmentation of the brain would hold."""
    return np.where(labels < 500, labels, 0).astype(np.int16)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def made() -> tuple[HeadMap, np.ndarray]:
    scan, labels = phantom()
    return make_head_map(Image(scan, AFFINE), brain_only(labels)), labels


def test_brain_is_kept_voxel_for_voxel(made: tuple[HeadMap, np.ndarray]) -> None:
    result, truth = made
    brain = (truth > 0) & (truth < 500) & (truth != CSF)
    assert np.array_equal(result.labels[brain], truth[brain])
    assert not np.isin(result.labels[~brain], truth[brain]).any()


def test_tissue_around_the_brain_is_found(made: tuple[HeadMap, np.ndarray]) -> None:
    result, truth = made
    scores = {index: dice(result.labels == index, truth == index) for index in (0, CSF, BONE, SOFT, EYE)}
    assert min(scores.values()) > 0.95, scores
    # Bright fat is skin where it is shallow, marrow where it is deep.
    assert dice(np.isin(result.labels, (SKIN, MARROW)), truth == 511) > 0.95
    assert result.notes == ()


def test_head_has_no_holes_and_is_one_piece(made: tuple[HeadMap, np.ndarray]) -> None:
    import cc3d

    air = (made[0].labels == 0).astype(np.uint8)
    for mask in (air, 1 - air):
        assert cc3d.connected_components(mask, connectivity=6, return_N=True)[1] == 1


def test_left_and_right_of_a_mirrored_head_are_made_alike() -> None:
    scan, labels = phantom(noise=0)
    one = make_head_map(Image(scan, AFFINE), brain_only(labels)).labels
    outside = one >= 500
    assert np.mean(one[::-1][outside] == one[outside]) > 0.97
    eyes = one == EYE
    assert np.count_nonzero(eyes[:30]) == np.count_nonzero(eyes[30:]) > 0


def test_shading_of_the_coil_does_not_change_classes(made: tuple[HeadMap, np.ndarray]) -> None:
    scan, labels = phantom()
    shading = np.exp(np.linspace(-0.35, 0.35, SHAPE[0]))[:, None, None].astype(np.float32)
    shaded = make_head_map(Image(scan * shading, AFFINE), brain_only(labels)).labels
    assert np.mean(shaded == made[0].labels) > 0.97


def test_orientation_of_the_file_changes_nothing(made: tuple[HeadMap, np.ndarray]) -> None:
    scan, labels = phantom()
    order, signs = (2, 0, 1), (1, -1, -1)
    flips = tuple(slice(None, None, sign) for sign in signs)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, order] * signs) * VOXEL_MM
    turned = make_head_map(
        Image(scan.transpose(order)[flips], affine), brain_only(labels).transpose(order)[flips]
    ).labels
    assert np.array_equal(turned, made[0].labels.transpose(order)[flips])


def test_noise_of_full_range_in_the_air_is_no_tissue() -> None:
    scan, labels = phantom()
    noise = np.random.default_rng(1).uniform(0, 110, SHAPE).astype(np.float32)
    scan = np.where((labels == 0) | (labels == BONE), noise, scan)
    head, _ = head_mask(scan, (labels > 0) & (labels < 500), SPACING)
    assert dice(head, labels > 0) > 0.93


def test_skull_stripped_scan_gives_brain_and_rim_and_says_so() -> None:
    scan, labels = phantom(stripped=True)
    segmentation = brain_only(labels)
    segmentation[segmentation == CSF] = 0
    result = make_head_map(Image(scan, AFFINE), segmentation)
    assert result.notes == ("The scan is skull-stripped: the map holds the brain and a rim of CSF only.",)
    assert result.labels.max() < 500
    assert dice(result.labels == CSF, labels == CSF) > 0.95
    assert np.mean(result.labels != brain_only(labels)) < 1e-3


def test_made_map_is_accepted_as_a_training_map(made: tuple[HeadMap, np.ndarray], tmp_path: Path) -> None:
    write_nifti(tmp_path / "map.nii.gz", made[0].labels, Image(made[0].labels, AFFINE))
    head = load(tmp_path / "map.nii.gz")
    assert set(np.unique(made[0].labels).tolist()) <= set(RAW_LABELS)
    assert {AIR, EYE, SOFT, SKIN, BONE, MARROW} < {label.index for label in HEAD_LABELS}
    low, high = head.brain_box_mm.tolist()
    np.testing.assert_allclose(np.subtract(high, low), [116, 142, 112], atol=2 * VOXEL_MM)


def test_map_from_freesurfers_parcels_has_structures_and_sides() -> None:
    scan, labels = phantom()
    parcels = brain_only(labels)
    parcels[labels == 3], parcels[labels == 42] = 1003, 12103
    callosum = (labels == 2) | (labels == 41)
    callosum &= np.indices(SHAPE)[2] > 44
    parcels[callosum] = 251
    spots = [tuple(np.argwhere((labels == index) & ~callosum)[200]) for index in (2, 41, 4, 43)]
    for spot, number in zip(spots, (77, 77, 31, 63), strict=True):
        parcels[spot] = number
    made = make_head_map(Image(scan, AFFINE), parcels).labels
    assert [int(made[spot]) for spot in spots] == [78, 79, 136, 163]
    kept = (labels > 0) & (labels < 500) & (labels != CSF)
    for spot in spots:
        kept[spot] = False
    assert np.array_equal(made[kept], labels[kept])
    assert set(np.unique(made).tolist()) <= {label.index for label in HEAD_LABELS}


def test_unknown_labels_empty_maps_and_exchanged_sides_are_refused() -> None:
    scan, labels = phantom()
    image, brain = Image(scan, AFFINE), brain_only(labels)
    with pytest.raises(InputError, match=r"not in the table: \[999\]"):
        make_head_map(image, np.where(brain == 2, 999, brain), name="a.nii")
    with pytest.raises(InputError, match="no brain structure"):
        make_head_map(image, np.zeros_like(brain), name="a.nii")
    with pytest.raises(InputError, match="left structures lie on the right"):
        make_head_map(image, brain[::-1], name="a.nii")
    with pytest.raises(ValueError, match="scan's grid"):
        make_head_map(image, brain[1:], name="a.nii")


def test_one_side_alone_is_no_exchange_of_sides() -> None:
    labels = np.zeros((4, 4, 4), np.int16)
    labels[3] = 2
    check_sides(labels, "half")


def test_thresholds_part_three_kinds_of_intensities() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(mean, 0.05, 3000) for mean in (0.1, 0.5, 1.2)])
    assert thresholds(values) == pytest.approx((0.3, 0.85), abs=0.02)
    assert thresholds(np.ones(5)) == (1, 1)


@pytest.mark.data
@pytest.mark.slow
def test_real_map_is_made_from_its_own_likeness(data_dir: Path) -> None:
    """A synthetic T1w scan of a published map: what lies outside of the brain comes out as it went in, roughly."""
    from lodbrain.images.grid import to_ras
    from lodbrain.images.io import read_labels

    truth = np.ascontiguousarray(to_ras(read_labels(data_dir / "labelmaps" / "training_seg_01.nii.gz"))[0].data)
    looks = {**LOOKS, 502: 1, 509: 50, 511: 150, 515: 5, 516: 120, 14: 15, 15: 15, 7: 95, 46: 95, 16: 95}
    scan = np.full(truth.shape, 75, np.float32)
    for index in np.unique(truth).tolist():
        scan[truth == index] = looks.get(index, 75)
    scan = np.hypot(scan, np.random.default_rng(0).normal(0, 2, truth.shape)).astype(np.float32)
    made = make_head_map(Image(scan, np.eye(4)), np.where(truth < 500, truth, 0)).labels
    assert dice(made > 0, truth > 0) > 0.95
    assert dice(made == BONE, truth == 515) > 0.75
    assert dice(made == EYE, truth == 506) > 0.95
    assert dice(made == SOFT, truth == 507) > 0.9
