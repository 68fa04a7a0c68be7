import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from lodbrain.images.image import Image
from lodbrain.synthesis.label_map import CODE_OF_RAW, LabelMap, prepare
from lodbrain.synthesis.steps.ventricles import RandomVentricles, Ventricles
from lodbrain.synthesis.streams import Stream

WHITE, LATERAL, THIRD = (CODE_OF_RAW[raw] for raw in (2, 4, 14))


@pytest.fixture(scope="module")
def labels() -> LabelMap:
    """2 mm: in white matter a lateral ventricle of 20 x 24 x 20 voxels, below it thalamus with a third ventricle."""
    raw = np.zeros((40, 44, 48), np.int16)
    raw[2:38, 2:42, 2:46] = 2
    raw[10:30, 10:34, 22:42] = 4
    raw[10:30, 10:34, 4:20] = 10
    raw[18:22, 12:32, 6:18] = 14
    return prepare(Image(raw, np.diag([2.0, 2.0, 2.0, 1.0])), "ventricles")


def volume(labels: LabelMap, code: int) -> int:
    return int((labels.codes == code).sum())


@pytest.mark.parametrize("kept", [0.75, 0.5, 0.2])
def test_innermost_share_is_kept_and_the_wall_moves_in(labels: LabelMap, kept: float) -> None:
    narrow = Ventricles(kept).narrow(labels)
    assert volume(narrow, LATERAL) / volume(labels, LATERAL) == pytest.approx(kept, abs=0.01)
    assert volume(narrow, THIRD) / volume(labels, THIRD) == pytest.approx(math.sqrt(kept), abs=0.01)
    assert volume(narrow, WHITE) - volume(labels, WHITE) == volume(labels, LATERAL) - volume(narrow, LATERAL)
    changed = narrow.codes != labels.codes
    assert set(labels.codes[changed].tolist()) == {LATERAL, THIRD}
    depth = ndimage.distance_transform_edt((labels.codes == LATERAL).numpy())
    gone = changed.numpy() & (labels.codes == LATERAL).numpy()
    left = (narrow.codes == LATERAL).numpy()
    assert depth[gone].max() <= depth[left].min()
    assert narrow.distance is labels.distance


def test_nothing_is_lost_that_should_stay(labels: LabelMap) -> None:
    assert Ventricles(1.0).narrow(labels) is labels
    before = labels.codes.clone()
    smallest = Ventricles(0.001).narrow(labels)
    assert volume(smallest, LATERAL) * 8 / 1000 == pytest.approx(4.0, abs=0.2)  # ml
    torch.testing.assert_close(labels.codes, before)


def test_map_without_ventricles_stays_as_it_is() -> None:
    raw = np.full((12, 12, 12), 2, np.int16)
    solid = prepare(Image(raw, np.eye(4)), "solid")
    assert Ventricles(0.5).narrow(solid) is solid


def test_half_of_the_scans_are_affected_by_any_amount() -> None:
    drawn = [RandomVentricles().draw(Stream(seed, "ventricles")) for seed in range(400)]
    kept = [ventricles.kept for ventricles in drawn if ventricles is not None]
    assert 160 <= len(kept) <= 240
    assert 0.12 <= min(kept) < 0.16
    assert 0.85 < max(kept) <= 1
    assert np.median(kept) == pytest.approx(math.sqrt(0.12), abs=0.08)
