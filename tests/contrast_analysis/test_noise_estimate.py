import numpy as np
import pytest
from scipy import ndimage

from lodbrain.contrast_analysis.noise_estimate import measure_background, noise_and_smoothness

SHAPE = (40, 40, 40)
BRAIN = np.zeros(SHAPE, bool)
BRAIN[10:30, 10:30, 10:30] = True


@pytest.mark.parametrize("sigma_vox", [0.0, 0.5, 0.8])
def test_blurred_noise_gives_its_strength_and_width(sigma_vox: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (60, 60, 60))
    if sigma_vox:
        noise = ndimage.gaussian_filter(noise, sigma_vox)
    found = noise_and_smoothness(7 * noise / noise.std(), np.ones(noise.shape, bool), np.full(3, 0.8))
    assert found is not None
    assert found[0] == pytest.approx(7, rel=0.05)
    if sigma_vox == 0:
        assert found[1] < 0.5
    else:
        # the kernel is cut to voxels: a narrow one is a little wider than its sigma
        assert found[1] == pytest.approx(0.8 * 2.355 * sigma_vox, rel=0.15)


def test_slow_anatomy_is_no_noise() -> None:
    rng = np.random.default_rng(0)
    slow = ndimage.gaussian_filter(rng.normal(size=(50, 50, 50)), 6)
    found = noise_and_smoothness(
        3 * rng.normal(size=(50, 50, 50)) + 5 * slow / slow.std(), np.ones((50, 50, 50), bool), np.ones(3)
    )
    assert found is not None and found[0] == pytest.approx(3, rel=0.15)


def test_too_small_a_mask_tells_nothing() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:3, :3, :3] = True
    assert noise_and_smoothness(np.zeros(SHAPE), mask, np.ones(3)) is None


def test_a_constant_background_is_zero_noise_whatever_its_value() -> None:
    data = np.where(BRAIN, 100.0, 7.0)
    found = measure_background(data, BRAIN, 100.0)
    assert (found.kind, found.level) == ("zero", 7.0)


def test_real_valued_noise_is_recognised() -> None:
    found = measure_background(np.random.default_rng(0).normal(0, 5, SHAPE), BRAIN, 100.0)
    assert found.kind == "rician"
    assert found.level == pytest.approx(5, rel=0.05)


def test_noise_of_full_range_is_mp2rage() -> None:
    found = measure_background(np.random.default_rng(0).uniform(0, 180, SHAPE), BRAIN, 160.0)
    assert found.kind == "mp2rage"
    assert found.level == pytest.approx(180, rel=0.05)


def test_tissue_up_to_the_corners_is_not_taken_as_noise() -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 3)
    assert measure_background(100 + 100 * smooth, BRAIN, 100.0).kind == "unknown"
    assert measure_background(np.ones(SHAPE), np.ones(SHAPE, bool), 100.0).kind == "unknown"
