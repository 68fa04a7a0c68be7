from collections.abc import Callable

import pytest
import torch

from lodbrain.synthesis.steps.blur import FWHM_PER_SIGMA, Blur, RandomBlur, gaussian_blur
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


def test_blur_has_the_asked_variance_and_keeps_the_sum() -> None:
    image = torch.zeros(25, 9, 9)
    image[12, 4, 4] = 1
    out = gaussian_blur(image, (2.0, 0.0, 1.0))
    at = torch.arange(25) - 12.0
    along = out.sum((1, 2))
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert float((along * at**2).sum()) == pytest.approx(4, rel=0.1)  # cut off at 2.5 sigma
    assert float(out[:, 3].abs().sum()) == 0  # the axis with sigma 0 is left alone


def test_blur_keeps_a_flat_image_to_its_edge() -> None:
    torch.testing.assert_close(gaussian_blur(torch.full((6, 5, 4), 7.0), (2.0, 2.0, 2.0)), torch.full((6, 5, 4), 7.0))


@pytest.mark.parametrize("coarseness", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.4, 2.0])
def test_blur_of_coarse_voxels_is_the_mean_of_the_blurred_scan(
    sigma: float, coarseness: int, image: torch.Tensor, view: Callable[..., View]
) -> None:
    scan = image
    for axis in range(3):
        scan = scan.repeat_interleave(coarseness, axis)
    blurred = gaussian_blur(scan, (sigma, sigma, sigma))
    expected = torch.nn.functional.avg_pool3d(blurred[None], coarseness)[0]
    out = Blur(sigma * FWHM_PER_SIGMA).apply(image, view(coarseness=coarseness))
    torch.testing.assert_close(out, expected, atol=1e-3, rtol=0)
    assert not torch.equal(out, image)


def test_blur_is_drawn_up_to_its_largest() -> None:
    drawn = [RandomBlur(2.0).draw(Stream(seed)).fwhm_vox for seed in range(100)]
    assert min(drawn) < 0.2 and 1.8 < max(drawn) <= 2
