import math

import pytest
import torch

from lodbrain.synthesis.artefacts import (
    FWHM_PER_SIGMA,
    Acquisition,
    Bias,
    Defacing,
    Stripping,
    Tone,
    gaussian_blur,
)
from lodbrain.synthesis.fields import Grid, SmoothField

GRID = Grid((20, 18, 16), (1.0, 1.0, 1.0), (-10.0, -9.0, -8.0))


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _image() -> torch.Tensor:
    return torch.rand(GRID.shape, generator=_random(1)) * 100


def _flat(value: float = 0.0) -> SmoothField:
    return SmoothField(torch.full((1, 12, 12, 12), value), 10.0)


def test_zero_strengths_change_nothing() -> None:
    image, random = _image(), _random()
    before = random.get_state()
    assert torch.equal(Bias(_flat()).apply(image, GRID), image)
    assert torch.equal(gaussian_blur(image, (0.0, 0.0, 0.0)), image)
    assert torch.equal(Acquisition().apply(image, GRID, random), image)
    assert torch.equal(Tone().apply(image, 160.0), image)
    assert torch.equal(random.get_state(), before)


def test_bias_multiplies_with_the_exponential_of_its_field() -> None:
    image = _image()
    torch.testing.assert_close(Bias(_flat(0.3)).apply(image, GRID), image * math.exp(0.3))


def test_bias_is_bright_in_the_centre_and_dark_in_drop_outs() -> None:
    grid = Grid((21, 1, 1), (2.0, 2.0, 2.0), (-21.0, -1.0, -1.0))  # centres at -20, -18, ..., 20 mm
    ones = torch.ones(grid.shape)
    bias = Bias(_flat(), centre_gain=0.5, centre_width_mm=3.0, drop_outs=((20.0, 0.0, 0.0, 4.0, 1.2),))
    out = bias.apply(ones, grid)[:, 0, 0]
    assert float(out[10]) == pytest.approx(math.exp(0.5), rel=1e-4)
    assert float(out[-1]) == pytest.approx(math.exp(-1.2), rel=1e-4)
    assert float(out[-3]) == pytest.approx(math.exp(-1.2 * math.exp(-0.5)), rel=1e-3)  # 4 mm away, one width
    assert float(out[0]) == pytest.approx(1, abs=1e-4)


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


def test_blur_is_in_voxels_of_the_scan_on_every_level() -> None:
    image = _image()
    fwhm = 2 * FWHM_PER_SIGMA
    expected = gaussian_blur(image, (1.0, 1.0, 1.0))
    out = Acquisition(blur_fwhm_vox=fwhm).apply(image, GRID, _random(), coarseness=2)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("coarseness", [1, 2, 4])
def test_noise_falls_with_the_root_of_the_voxels_averaged(coarseness: int) -> None:
    flat = torch.full((24, 24, 24), 500.0)
    out = Acquisition(noise=8.0).apply(flat, GRID, _random(), coarseness=coarseness)
    assert float(out.std()) == pytest.approx(8 / math.sqrt(coarseness**3), rel=0.03)
    assert float(out.mean()) == pytest.approx(500, abs=0.3)


def test_rician_noise_of_air_has_the_mean_of_a_rayleigh_distribution() -> None:
    out = Acquisition(noise=8.0, rician=True).apply(torch.zeros(24, 24, 24), GRID, _random())
    assert float(out.min()) >= 0
    assert float(out.mean()) == pytest.approx(8 * math.sqrt(math.pi / 2), rel=0.02)


def test_same_seed_same_noise() -> None:
    scan = Acquisition(noise=3.0, rician=True)
    assert torch.equal(scan.apply(_image(), GRID, _random(5)), scan.apply(_image(), GRID, _random(5)))
    assert not torch.equal(scan.apply(_image(), GRID, _random(5)), scan.apply(_image(), GRID, _random(6)))


def test_thick_slices_average_along_their_axis_only() -> None:
    x = torch.arange(20.0)[:, None, None].expand(GRID.shape)
    z = (torch.arange(16) % 2 * 100.0)[None, None, :].expand(GRID.shape)
    thick = Acquisition(slice_axis=2, slice_mm=4.0)
    torch.testing.assert_close(thick.apply(x, GRID, _random()), x)
    torch.testing.assert_close(thick.apply(z, GRID, _random()), torch.full(GRID.shape, 50.0))


def test_slices_about_as_thick_as_voxels_change_nothing() -> None:
    assert torch.equal(Acquisition(slice_mm=1.1).apply(_image(), GRID, _random()), _image())


def test_stripping_keeps_the_brain_and_drops_what_is_far() -> None:
    distance = torch.arange(20.0)[:, None, None].expand(GRID.shape)
    for error in (-1.0, 1.0):
        kept = Stripping(-0.5, _flat(error), 2.0).mask(distance, GRID)
        assert bool(kept[0].all())
        assert int(kept[:, 0, 0].sum()) == (1 if error < 0 else 2)  # up to -0.5 + 2 = 1.5 mm
    kept = Stripping(7.0, _flat(), 1.0).mask(distance, GRID)
    assert kept[:, 0, 0].tolist() == [d <= 7 for d in range(20)]


def test_defacing_drops_the_face_but_nothing_near_the_brain() -> None:
    grid = Grid((1, 40, 1), (1.0, 5.0, 1.0), (0.0, -100.0, 0.0))
    far, near = torch.full(grid.shape, 30.0), torch.full(grid.shape, 5.0)
    defacing = Defacing((0.0, 1.0, -0.5), 60.0)
    kept = defacing.mask(far, grid)[0, :, 0]
    height = grid.axes_mm()[1] - 0.5 * grid.axes_mm()[2]
    assert torch.equal(kept, height < 60)
    assert 0 < int(kept.sum()) < 40
    assert bool(defacing.mask(near, grid).all())


def test_gamma_bends_between_black_and_white_matter() -> None:
    image = torch.tensor([-5.0, 0.0, 40.0, 80.0, 160.0]).view(5, 1, 1)
    out = Tone(gamma=2.0).apply(image, 160.0).flatten()
    torch.testing.assert_close(out, torch.tensor([-5.0, 0.0, 10.0, 40.0, 160.0]))


def test_clip_is_relative_to_white_matter() -> None:
    image = torch.tensor([100.0, 170.0, 300.0]).view(3, 1, 1)
    assert Tone(clip=1.1).apply(image, 160.0).flatten().tolist() == pytest.approx([100, 170, 176])
