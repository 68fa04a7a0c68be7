import numpy as np
import pytest

from lodbrain.contrast_analysis import sampling
from lodbrain.contrast_analysis.sampling import draw_samples
from lodbrain.labels import CLASS_OF_INDEX, N_CLASSES, SIDELESS

WHITE, CORTEX = SIDELESS.index("Cerebral-White-Matter"), SIDELESS.index("Cerebral-Cortex")


@pytest.fixture
def labels() -> np.ndarray:
    """Left white matter inside of left cortex, right white matter beside it."""
    labels = np.zeros((20, 16, 16), np.uint8)
    labels[3:13, 3:13, 3:13] = CLASS_OF_INDEX[3]
    labels[5:11, 5:11, 5:11] = CLASS_OF_INDEX[2]
    labels[13:17, 3:13, 3:13] = CLASS_OF_INDEX[41]
    return labels


def test_all_labelled_voxels_are_looked_at_where_they_are_few(labels: np.ndarray) -> None:
    data = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)
    samples = draw_samples(data, np.array([1.0, 2.0, 3.0]), labels)
    assert sorted(samples.values) == sorted(data[labels > 0])
    np.testing.assert_array_equal(samples.weights, 1)
    index = np.round(samples.at_mm / [1, 2, 3]).astype(int)
    np.testing.assert_array_equal(data[tuple(index.T)], samples.values)


def test_weights_stand_for_the_voxels_left_out(labels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_VOXELS", 100)
    samples = draw_samples(np.zeros(labels.shape), np.ones(3), labels)
    white = samples.classes[:, 0] == WHITE
    assert len(samples.values) == 200
    # the softened labels of a corner may name its neighbour first
    assert samples.weights.sum() == pytest.approx((labels > 0).sum())
    assert samples.weights[white].mean() == pytest.approx((6**3 + 400) / 100, rel=0.02)


def test_what_the_cross_of_neighbours_shares_is_pure_on_both_sides_together(labels: np.ndarray) -> None:
    samples = draw_samples(np.zeros(labels.shape), np.ones(3), labels)
    pure = samples.pure[:, 0] == 1
    inner = pure & (samples.classes[:, 0] == WHITE)
    assert inner.sum() == 4**3 + 2 * 8 * 8  # two cubes without their faces
    np.testing.assert_array_equal(samples.shares[pure, 0], 1)
    np.testing.assert_allclose(samples.shares.sum(1), 1)
    assert (samples.pure.sum(1)[~pure] == 0).all()


def test_posteriors_are_merged_across_sides_and_eroded(labels: np.ndarray) -> None:
    posteriors = np.zeros((*labels.shape, N_CLASSES), np.float16)
    posteriors[..., CLASS_OF_INDEX[2]] = 0.5
    posteriors[..., CLASS_OF_INDEX[41]] = 0.25
    posteriors[..., CLASS_OF_INDEX[3]] = 0.25
    posteriors[8, 8, 8] = 0
    posteriors[8, 8, 8, CLASS_OF_INDEX[3]] = 1
    samples = draw_samples(np.zeros(labels.shape), np.ones(3), labels, posteriors)
    at = {tuple(row): number for number, row in enumerate(samples.at_mm.astype(int))}
    far, beside = at[(5, 5, 5)], at[(8, 8, 7)]
    assert (samples.classes[far, :2].tolist(), samples.shares[far, :2].tolist()) == ([WHITE, CORTEX], [0.75, 0.25])
    assert samples.pure[far, 0] == 0.75**4  # networks are too sure
    assert samples.pure[beside, :2].tolist() == [0, 0.25**4]


def test_voxels_without_signal_are_left_out(labels: np.ndarray) -> None:
    data = np.ones(labels.shape)
    data[13:17] = -3
    assert len(draw_samples(data, np.ones(3), labels, skip=-3).values) == 1000


def test_an_empty_map_is_refused() -> None:
    with pytest.raises(ValueError, match="labels must hold a structure"):
        draw_samples(np.zeros((4, 4, 4)), np.ones(3), np.zeros((4, 4, 4), int))
