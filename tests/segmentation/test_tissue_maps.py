import numpy as np

from lodbrain.inference.decide import repooled
from lodbrain.labels import CLASS_OF_INDEX, N_CLASSES
from lodbrain.labels.gm_wm_csf import GM_WM_CSF_OF_CLASS
from lodbrain.segmentation.settings import Settings
from lodbrain.segmentation.tissue_maps import kept_pooling, tissue_maps_of

POOLING = tuple(GM_WM_CSF_OF_CLASS.tolist())
CORTEX, WHITE, CSF = (CLASS_OF_INDEX[index] for index in (3, 2, 24))


def posteriors() -> np.ndarray:
    """A line of air, a rim that is brain with 0.3, CSF, cortex, and white matter; a stray voxel; a hole of air."""
    soft = np.zeros((N_CLASSES, 9, 9, 9), np.float16)
    soft[0] = 1

    def put(where: tuple[slice, slice, slice], shares: dict[int, float]) -> None:
        soft[(slice(None), *where)] = 0
        for number, share in shares.items():
            soft[(number, *where)] = share

    for start, shares in (
        (1, {0: 0.7, CSF: 0.25, CORTEX: 0.05}),
        (2, {0: 0.25, CSF: 0.75}),
        (3, {CORTEX: 0.375, WHITE: 0.5, CSF: 0.125}),
    ):
        inside = slice(start, 8 - start)
        put((inside, inside, inside), shares)
    put((slice(4, 5),) * 3, {0: 1})
    put((slice(8, 9),) * 3, {CORTEX: 1})
    return soft


def test_mask_takes_what_is_perhaps_brain_in_one_piece_without_holes() -> None:
    maps = tissue_maps_of(posteriors())
    expected = np.zeros((9, 9, 9), bool)
    expected[1:7, 1:7, 1:7] = True
    np.testing.assert_array_equal(maps.mask, expected)


def test_labels_are_the_most_probable_tissue_and_maps_end_at_the_mask() -> None:
    maps = tissue_maps_of(posteriors())
    assert maps.labels.dtype == np.uint8
    assert [int(maps.labels[x, 3, 3]) for x in (0, 1, 2, 3, 8)] == [0, 0, 3, 2, 0]
    assert maps.labels[4, 4, 4] == maps.labels[8, 8, 8] == 0
    np.testing.assert_allclose(maps.posteriors[3, 3, 3], [0.375, 0.5, 0.125])
    np.testing.assert_allclose(maps.posteriors[1, 3, 3], [0.05, 0, 0.25], atol=1e-3)
    assert not maps.posteriors[8, 8, 8].any()


def test_pooled_posteriors_give_the_same() -> None:
    whole, pooled = tissue_maps_of(posteriors()), tissue_maps_of(repooled(posteriors(), POOLING), POOLING)
    np.testing.assert_array_equal(whole.labels, pooled.labels)
    np.testing.assert_array_equal(whole.posteriors, pooled.posteriors)


def test_classes_are_pooled_unless_they_must_stay_apart() -> None:
    assert kept_pooling("structures", Settings()) is None
    assert kept_pooling("structures", Settings(tissue_maps=True)) == POOLING
    assert kept_pooling("structures", Settings(tissue_maps=True, posteriors=True)) is None
    assert kept_pooling("structures", Settings(posteriors=True)) is None
    assert kept_pooling("structures", Settings(posteriors=True, labels="brain")) == tuple(
        int(index > 0 and index != CSF) for index in range(N_CLASSES)
    )
    assert kept_pooling("tissue", Settings(posteriors=True, labels="tissue")) is None
