import numpy as np

from lodbrain.report.verification_page import slice_dice


def test_worst_slice_is_found_among_those_that_hold_enough() -> None:
    ref = np.zeros((6, 6, 4), np.uint8)
    ref[1:5, 1:5, :3] = 3
    ref[2, 2, 3] = 3  # one voxel: the end of the brain does not count
    pred = ref.copy()
    pred[1:3, 1:5, 1] = 2  # half of the slice is another tissue
    pred[..., 3] = 0
    dice = slice_dice(pred, ref)
    assert dice[:3].tolist() == [1.0, 0.5, 1.0]
    assert np.isnan(dice[3])
    assert int(np.nanargmin(dice)) == 1
