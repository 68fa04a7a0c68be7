import numpy as np
import pytest

from lodbrain.labelmaps.boundaries import WHOLE, Axis, blocks, resample_pass


@pytest.mark.parametrize(
    ("n_in", "n_out", "ratio"), [(9, 9, 1.0), (9, 18, 2.0), (9, 27, 3.0), (10, 17, 5 / 3), (10, 6, 0.6)]
)
def test_weights_are_whole_numbers_of_a_fixed_sum(n_in: int, n_out: int, ratio: float) -> None:
    weights = Axis(n_in, n_out, ratio).weights
    assert weights.shape == (n_out, n_in)
    assert weights.sum(1).tolist() == [WHOLE] * n_out
    assert np.array_equal(weights, np.rint(weights))
    assert weights.min() >= 0


def test_smoothing_weighs_by_the_distance_of_centres() -> None:
    weights = Axis(9, 27, 3.0).weights
    gauss = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 0.6**2))
    np.testing.assert_allclose(weights[13], WHOLE * gauss / gauss.sum(), atol=1)


def test_cores_are_the_nearest_new_voxels_and_new_voxels_lie_on_or_between_them() -> None:
    axis = Axis(4, 12, 3.0)
    assert axis.cores.tolist() == [1, 4, 7, 10]
    low, high = axis.support
    assert low.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert high.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert axis.nearest.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("ratio", [1.0, 1.01, 10 / 7, 5 / 3, 2.0, 3.7, 4.0])
def test_every_old_voxel_has_a_core_of_its_own(ratio: float) -> None:
    axis = Axis(50, round(50 * ratio), ratio)
    assert (np.diff(axis.cores) >= 1).all()
    assert np.array_equal(axis.nearest[axis.cores], np.arange(50))
    low, high = axis.support
    assert ((axis.nearest == low) | (axis.nearest == high)).all()
    if axis.n_out == 50 * ratio:  # otherwise the grids end apart
        assert np.array_equal(axis.cores, axis.n_out - 1 - axis.cores[::-1])


def test_blocks_tile_the_grid() -> None:
    axes = (Axis(5, 10, 2.0), Axis(4, 8, 2.0), Axis(3, 9, 3.0))
    seen = np.zeros((10, 8, 9), int)
    for block in blocks(axes, 4**3):
        seen[block] += 1
    assert (seen == 1).all()


def test_bias_moves_boundaries_and_is_counted() -> None:
    codes = np.zeros((8, 8, 8), np.uint8)
    codes[3:5, 3:5, 3:5] = 1
    x, y, z = (Axis(8, 24, 3.0) for _ in range(3))
    counts = []
    for bias in (-0.2, 0.0, 0.2):
        out = np.empty((24, 24, 24), np.uint8)
        tally = resample_pass(codes, (x, y, z), bias=np.array([0, bias], np.float32), out=out)
        assert tally.voxels.tolist() == np.bincount(out.ravel()).tolist()
        counts.append(int(tally.voxels[1]))
    assert counts[0] < counts[1] < counts[2]
    # Every open voxel is in the table of margins: those of the last bias that label 1 would lose at once, too.
    assert 0 < tally.margins.sum() < 24**3
    assert tally.margins[0, 0].sum() == tally.margins[1, 1].sum() == 0
