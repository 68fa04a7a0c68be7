from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images.io import read_labels
from lodbrain.labels import STRUCTURES
from lodbrain.labels.freesurfer import FREESURFER, SYNTHSEG, structures_of
from lodbrain.labels.sides import fit_midplane

PARCELS = [
    (3, 42, [(1000, 2000), (1035, 2035), (1100, 2100), (1181, 2181), (11100, 12100), (11175, 12175)]),
    (2, 41, [(3000, 4000), (3035, 4035), (3181, 4181), (5001, 5002), (13100, 14100), (14175 - 1000, 14175)]),
    (2, 41, [(25, 57), (78, 79), (81, 82)]),
    (4, 43, [(31, 63)]),
    (10, 49, [(9, 48)]),
    (0, 0, [(30, 62), (29, 61)]),
]


@pytest.mark.parametrize(("left", "right", "pairs"), PARCELS)
def test_numbers_with_a_side_keep_it(left: int, right: int, pairs: list[tuple[int, int]]) -> None:
    for one, other in pairs:
        assert FREESURFER[one] == (left, left)
        assert FREESURFER[other] == (right, right)


def test_structures_mean_themselves() -> None:
    assert all(FREESURFER[label.index] == (label.index, label.index) for label in STRUCTURES)


def test_numbers_without_a_side_have_it_by_position() -> None:
    by_position = {number for number, (left, right) in FREESURFER.items() if left != right}
    assert by_position == {77, 80, 192, 250, 251, 252, 253, 254, 255}
    assert {FREESURFER[number] for number in by_position} == {(2, 41)}


def test_neighbours_of_the_ranges_are_unknown() -> None:
    unknown = (1036, 2036, 11099, 11176, 12176, 3036, 4036, 5000, 5003, 13176, 14176, 71, 400, 10000, -1)
    assert not set(unknown) & set(FREESURFER)
    assert not {136, 163, 500, 530} & set(FREESURFER)
    assert SYNTHSEG[136] == (4, 4) and SYNTHSEG[164] == (44, 44) and SYNTHSEG[530] == (0, 0)


def head() -> np.ndarray:
    """(20, 12, 12) int32, RAS: cortex, white matter, a callosum across the middle, hypointensities on both sides."""
    labels = np.zeros((20, 12, 12), np.int32)
    labels[1:10, 1:11, 1:11], labels[10:19, 1:11, 1:11] = 1024, 12105
    labels[2:10, 2:10, 2:10], labels[10:18, 2:10, 2:10] = 2, 3024 + 1000
    labels[8:12, 4:8, 5:7] = 251
    labels[4, 4, 4] = labels[15, 4, 4] = 77
    labels[16, 5, 5] = 80
    return labels


def test_callosum_and_hypointensities_are_split_between_the_sides() -> None:
    found = structures_of(head(), np.eye(4))
    assert set(np.unique(found[:10]).tolist()) == {0, 2, 3}
    assert set(np.unique(found[10:]).tolist()) == {0, 41, 42}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_grid_changes_no_voxel(axis: int) -> None:
    affine = np.eye(4)
    affine[axis, axis] = -1
    found = structures_of(np.flip(head(), axis), affine)
    assert np.array_equal(np.flip(found, axis), structures_of(head(), np.eye(4)))


def test_oblique_and_anisotropic_grid_keeps_the_sides() -> None:
    turn = np.deg2rad(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:, 2] *= 2.5
    assert np.array_equal(structures_of(head(), affine), structures_of(head(), np.eye(4)))


def test_mirrored_head_gives_the_mirrored_structures() -> None:
    mirror = {label.index: label.mirror for label in STRUCTURES}
    swapped = {0: 0, 1024: 2024, 12105: 11105, 2: 41, 4024: 3024, 251: 251, 77: 77, 80: 80}
    mirrored = np.vectorize(swapped.get)(head())[::-1]
    expected = np.vectorize(mirror.get)(structures_of(head(), np.eye(4)))[::-1]
    assert np.array_equal(structures_of(mirrored, np.eye(4)), expected)


def test_unknown_number_is_an_error_that_names_it() -> None:
    labels = head()
    labels[0, 0, :2] = 1036, 7777
    with pytest.raises(InputError, match=r"case\.mgz: labels that are not in the table: \[1036, 7777\]") as caught:
        structures_of(labels, np.eye(4), path="case.mgz")
    assert caught.value.code == "labels"


def test_map_in_which_nothing_has_a_side_is_refused() -> None:
    with pytest.raises(InputError, match="label 251 has no side"):
        structures_of(np.full((3, 3, 3), 251), np.eye(4))


def whole(*, sides: bool) -> np.ndarray:
    """A brain of 3 mm voxels with vessels, choroid plexus and a brainstem."""
    x, y, z = (np.indices((48, 56, 44)) - np.reshape((23.5, 27.5, 21.5), (3, 1, 1, 1))) * 3.0
    right = x > 0
    labels = np.zeros(x.shape, np.int16)

    def fill(mask: np.ndarray, left_number: int, right_number: int) -> None:
        labels[mask] = np.where(right & sides, right_number, left_number)[mask]

    fill((x / 60) ** 2 + (y / 75) ** 2 + (z / 55) ** 2 < 1, 3, 42)
    fill((x / 50) ** 2 + (y / 65) ** 2 + (z / 45) ** 2 < 1, 2, 41)
    fill(((np.abs(x) - 15) / 9) ** 2 + (y / 25) ** 2 + (z / 12) ** 2 < 1, 4, 43)
    fill(((np.abs(x) - 15) / 4) ** 2 + (y / 6) ** 2 + (z / 6) ** 2 < 1, 31, 63)
    labels[(x / 9) ** 2 + ((y + 10) / 9) ** 2 + ((z + 25) / 20) ** 2 < 1] = 16
    return labels


def test_brain_without_sides_is_split_at_its_midplane() -> None:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (40, 16, 63)
    expected = structures_of(whole(sides=True), affine)
    found = structures_of(whole(sides=False), affine)
    assert set(np.unique(found).tolist()) == {0, 2, 3, 4, 16, 41, 42, 43}
    assert np.mean((found == expected)[expected > 0]) > 0.985


def test_one_hemisphere_alone_is_not_split() -> None:
    labels = whole(sides=True)
    labels[24:] = 0
    assert set(np.unique(structures_of(labels, np.eye(4))).tolist()) == {0, 2, 3, 4, 16}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("number", ["01", "16"])
def test_published_map_gets_its_sides_back(data_dir: Path, number: str) -> None:
    image = read_labels(data_dir / "labelmaps" / f"training_seg_{number}.nii.gz")
    truth = structures_of(image.data, image.affine)
    sideless = {label.index: label.mirror if label.side == "right" else label.index for label in STRUCTURES}
    found = structures_of(np.vectorize(sideless.get, otypes=[np.int16])(truth), image.affine)
    assert np.mean((found == truth)[truth > 0]) > 0.995


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 6))
def test_young_map_is_split_into_like_halves(data_dir: Path, number: int) -> None:
    image = read_labels(data_dir / "labelmaps_young" / f"brain{number}_labels.nii.gz")
    counts = np.bincount(structures_of(image.data, image.affine).ravel(), minlength=64)
    for left, right in ((2, 41), (3, 42), (10, 49), (11, 50), (12, 51), (17, 53)):
        assert 0.85 < counts[left] / counts[right] < 1.18, left


@pytest.mark.data
@pytest.mark.slow
def test_callosum_of_a_real_segmentation_is_split_near_its_midplane(data_dir: Path) -> None:
    image = read_labels(data_dir / "dev" / "swm_aparc+aseg.nii.gz")
    found = structures_of(image.data, image.affine)
    sideless = {label.index: label.mirror if label.side == "right" else label.index for label in STRUCTURES}
    plane = fit_midplane(np.vectorize(sideless.get, otypes=[np.int16])(found), image.affine)
    callosum = np.isin(image.data, range(251, 256))
    beyond_mm = (np.argwhere(callosum) @ image.affine[:3, :3].T + image.affine[:3, 3]) @ plane.normal - plane.offset_mm
    wrong = (found[callosum] == 41) != (beyond_mm > 0)
    assert np.abs(beyond_mm[wrong]).max() < 1.5  # the surface between the hemispheres is no plane
    hypointensities = image.data == 77
    assert np.array_equal(found[hypointensities] == 41, plane.is_right(image.shape, image.affine)[hypointensities])
