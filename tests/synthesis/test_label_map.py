from pathlib import Path

import numpy as np
import pytest
import torch

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.labels import CLASS_OF_INDEX, MIRROR_OF_CLASS, STRUCTURES
from lodbrain.synthesis.label_map import (
    BRAIN_CODES,
    CLASS_OF_CODE,
    CODE_OF_RAW,
    DISTANCE_STEP_MM,
    MIRROR_OF_CODE,
    N_CODES,
    RAW_LABELS,
    LabelMap,
    encode,
    load,
    prepare,
)


def test_codes_of_structures_are_their_classes() -> None:
    assert RAW_LABELS[:33] == tuple(label.index for label in STRUCTURES)
    assert CLASS_OF_CODE[:33].tolist() == list(range(33))
    assert len(set(RAW_LABELS)) == N_CODES < 256


@pytest.mark.parametrize(
    ("raw", "index"), [(78, 2), (79, 41), (25, 2), (57, 41), (136, 4), (164, 44), (30, 0), (85, 0), (500, 0), (530, 0)]
)
def test_other_labels_count_as(raw: int, index: int) -> None:
    assert int(CLASS_OF_CODE[CODE_OF_RAW[raw]]) == CLASS_OF_INDEX[index]


def test_mirror_twice_is_the_label_itself_and_mirrors_its_class() -> None:
    assert torch.equal(MIRROR_OF_CODE[MIRROR_OF_CODE], torch.arange(N_CODES))
    assert int(MIRROR_OF_CODE[CODE_OF_RAW[17]]) == CODE_OF_RAW[53]
    assert torch.equal(CLASS_OF_CODE[MIRROR_OF_CODE], torch.as_tensor(MIRROR_OF_CLASS)[CLASS_OF_CODE])
    assert 77 not in RAW_LABELS


def test_hypointensities_have_the_side_of_the_white_matter_around_them(raw_head: np.ndarray) -> None:
    raw = raw_head.copy()
    left, right = (np.argwhere(raw == index)[::50] for index in (2, 41))
    raw[tuple(left.T)] = raw[tuple(right.T)] = 77
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    codes = encode(raw, affine)
    assert (codes[tuple(left.T)] == CODE_OF_RAW[78]).all()
    assert (codes[tuple(right.T)] == CODE_OF_RAW[79]).all()
    # the mirrored head: every voxel has the other side's class
    mirror = {label.index: label.mirror for label in STRUCTURES} | {77: 77, 516: 516}
    mirrored = encode(np.vectorize(mirror.get)(raw)[::-1], affine)
    assert torch.equal(torch.from_numpy(mirrored[::-1].copy()), MIRROR_OF_CODE[codes.astype(int)].to(torch.uint8))


def test_encode_gives_positions_in_the_table() -> None:
    raw = np.array([[[0, 2, 60, 78, 530]]])
    assert encode(raw, np.eye(4)).tolist() == [[[0, 1, 32, CODE_OF_RAW[78], N_CODES - 1]]]
    assert encode(raw, np.eye(4)).dtype == np.uint8


def test_freesurfers_numbers_are_understood() -> None:
    numbers = [1003, 2, 31, 251, 81, 41, 63, 5002, 12101, 29]
    codes = encode(np.array(numbers).reshape(-1, 1, 1), np.eye(4)).ravel()
    assert [RAW_LABELS[code] for code in codes] == [3, 2, 136, 2, 78, 41, 163, 41, 42, 0]


def test_unknown_labels_are_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"case\.nii: .*\[-1, 1036\]") as caught:
        encode(np.array([[[2, 1036, -1]]]), np.eye(4), "case.nii")
    assert caught.value.code == "labels"


@pytest.mark.parametrize("label", [0, 24, 30, 516])
def test_map_without_brain_is_refused(label: int) -> None:
    with pytest.raises(InputError, match="no brain structure") as caught:
        prepare(Image(np.full((4, 4, 4), label, np.int16), np.eye(4)))
    assert caught.value.code == "empty-map"


def test_map_is_cropped_to_the_head_with_one_voxel_around(head: LabelMap, raw_head: np.ndarray) -> None:
    codes = head.codes.numpy()
    assert codes.shape == tuple(2 + np.ptp(np.argwhere(raw_head), axis=0) + 1)
    for axis in range(3):
        ends = codes.take([0, -1], axis)
        assert not ends.any()
        assert codes.take([1], axis).any()
    for label in STRUCTURES:
        assert (codes == CODE_OF_RAW[label.index]).sum() == (raw_head == label.index).sum() or label.index == 0


def test_distance_is_zero_in_the_brain_and_grows_around_it() -> None:
    raw = np.zeros((9, 9, 9), np.int16)
    raw[:] = 516
    raw[4, 4, 4] = 2
    labels = prepare(Image(raw, np.diag([2.0, 3.0, 1.0, 1.0])))
    distance = labels.distance[1:-1, 1:-1, 1:-1].double() * DISTANCE_STEP_MM
    assert distance[4, 4].tolist() == [4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert float(distance[6, 4, 4]) == 4
    assert float(distance[4, 2, 4]) == 6
    assert float(distance[5, 4, 7]) == 4.0  # sqrt(13) = 3.61 mm, rounded up to a step


def test_brain_box_and_ventricles_are_measured_from_the_corner() -> None:
    raw = np.zeros((12, 10, 8), np.int16)
    raw[1:11, 1:9, 1:7] = 24
    raw[3:9, 2:8, 2:6] = 2
    raw[4:6, 3:5, 2:4] = 43
    labels = prepare(Image(raw, np.diag([2.0, 2.0, 2.0, 1.0])))
    # one voxel of border was cut off, one was put on
    assert labels.brain_box_mm.tolist() == [[6, 4, 4], [18, 16, 12]]
    assert labels.ventricle_mm.tolist() == [10, 8, 6]


def test_map_without_ventricles_has_the_brains_centre() -> None:
    raw = np.zeros((6, 6, 6), np.int16)
    raw[1:5, 2:4, 2:4] = 16
    labels = prepare(Image(raw, np.eye(4)))
    torch.testing.assert_close(labels.ventricle_mm, labels.brain_box_mm.mean(0))


def test_stored_orientation_does_not_matter(raw_head: np.ndarray, head: LabelMap) -> None:
    affine = np.array([[0, -4.0, 0, 70], [0, 0, 4.0, -60], [4.0, 0, 0, 10], [0, 0, 0, 1]])  # axes: up, left, front
    turned = prepare(Image(np.ascontiguousarray(raw_head.transpose(2, 0, 1)[:, ::-1]), affine))
    assert torch.equal(turned.codes, head.codes)
    assert torch.equal(turned.distance, head.distance)


def test_brain_codes_leave_out_csf_and_what_lies_outside() -> None:
    raws = {RAW_LABELS[code] for code in BRAIN_CODES}
    assert {2, 41, 4, 16, 78, 79} <= raws
    assert not raws & {0, 24, *range(500, 531)}


def test_load_reads_a_file(tmp_path: Path, raw_head: np.ndarray, head: LabelMap) -> None:
    path = tmp_path / "map.nii.gz"
    write_nifti(path, raw_head, Image(raw_head, np.diag([4.0, 4.0, 4.0, 1.0])))
    labels = load(path)
    assert torch.equal(labels.codes, head.codes)
    assert labels.spacing_mm.tolist() == [4, 4, 4]
    assert labels.name == str(path)
    assert labels.to("cpu").ventricle_mm.tolist() == head.ventricle_mm.tolist()
