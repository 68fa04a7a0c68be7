import numpy as np
import pytest
import torch

from lodbrain.images.intensity import Scaling, black_level, brain_scaling, foreground_scaling, from_black


def _image() -> torch.Tensor:
    return torch.rand((12, 11, 10), generator=torch.Generator().manual_seed(0)) * 300


def test_scaling_is_linear_up_to_its_limit() -> None:
    image = torch.tensor([[[0.0, 10.0, 30.0, 1000.0, -1000.0]]])
    out = Scaling(offset=10.0, unit=20.0, limit=4.0).apply(image)
    assert out.flatten().tolist() == [-0.5, 0.0, 1.0, 4.0, -4.0]
    assert image.flatten().tolist() == [0, 10, 30, 1000, -1000]  # the image itself is left alone


def test_foreground_unit_is_the_mean_of_the_bright_half() -> None:
    image = torch.tensor([0.0, 0.0, 0.0, 0.0, 10.0, 30.0, 50.0]).view(7, 1, 1)  # mean 12.9
    assert foreground_scaling(image) == Scaling(0.0, 40.0, 4.0)


@pytest.mark.parametrize(
    ("gain", "offset", "tolerance"), [(37, 0, 1e-5), (1, -1024, 1e-4), (1e-6, 0, 1e-5), (0.85, -128, 1e-4)]
)
def test_foreground_scaling_undoes_gain_and_offset(gain: float, offset: float, tolerance: float) -> None:
    image = _image()
    changed = image * gain + offset
    torch.testing.assert_close(
        foreground_scaling(image).apply(image), foreground_scaling(changed).apply(changed), atol=tolerance, rtol=0
    )


def test_black_is_what_masked_air_was_set_to() -> None:
    image = _image() + 40
    image[:3] = 7
    assert black_level(image) == 7


def test_few_dark_voxels_are_not_black() -> None:
    image = torch.full((40, 40, 40), 5.0)
    image[0, 0] = -900
    assert black_level(image) == 5


def test_scan_with_flipped_axes_is_brought_to_black_too() -> None:
    scan = np.random.default_rng(0).uniform(0, 900, (12, 12, 12)).astype(np.float32) - 300
    np.testing.assert_array_equal(from_black(scan[::-1, :, ::-1]), from_black(scan)[::-1, :, ::-1])


def test_scan_from_black_begins_at_0_whatever_its_offset_and_background() -> None:
    scan = np.zeros((20, 20, 20), np.float32)
    scan[5:15, 5:15, 5:15] = _image().numpy()[:10, :10, :10] + 20
    assert from_black(scan) is scan
    np.testing.assert_allclose(from_black(scan - 1024), scan, atol=1e-4)
    for background in (-1000, 200):
        black = from_black(np.where(scan == 0, background, scan).astype(np.float32))
        assert black[0, 0, 0] == 0
        np.testing.assert_allclose(black[scan > 0], scan[scan > 0] - scan[scan > 0].min(), atol=1)


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_flat_image_is_not_divided_by_zero(value: float) -> None:
    image = torch.full((8, 8, 8), value)
    everywhere = torch.ones(8, 8, 8, dtype=torch.bool)
    for scaling in (foreground_scaling(image), brain_scaling(image, everywhere), brain_scaling(image, ~everywhere)):
        assert scaling.unit > 0
        assert bool(scaling.apply(image).isfinite().all())


def test_brain_is_centred_on_its_median_in_units_of_its_quartiles() -> None:
    image = _image()
    brain = image > 150
    scaled = brain_scaling(image, brain).apply(image)[brain]
    low, middle, high = torch.quantile(scaled, torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert middle == pytest.approx(0, abs=1e-5)
    assert high - low == pytest.approx(1, abs=1e-5)


def test_what_lies_outside_of_the_brain_does_not_matter() -> None:
    image = _image()
    brain = torch.zeros(image.shape, dtype=torch.bool)
    brain[3:10, 3:10, 3:10] = True
    assert brain_scaling(image, brain) == brain_scaling(torch.where(brain, image, 9999.0), brain)


def test_brain_scaling_undoes_gain_and_offset() -> None:
    image = _image()
    brain = image > 100
    changed = image * 3 + 50
    torch.testing.assert_close(
        brain_scaling(image, brain).apply(image), brain_scaling(changed, brain).apply(changed), atol=1e-4, rtol=0
    )


def test_with_hardly_any_brain_the_foreground_takes_its_place() -> None:
    image = _image()
    few = torch.zeros(image.shape, dtype=torch.bool)
    few[0, 0, :5] = True
    assert brain_scaling(image, few) == brain_scaling(image, image > image.mean())
    assert brain_scaling(image, few, least_voxels=5) != brain_scaling(image, few)
