import math

import numpy as np
import pytest
import torch

from lodbrain.synthesis.degradations import DEGRADATIONS, LabelledScan, bright_level

SHAPE = (40, 44, 36)


@pytest.fixture(scope="module")
def pair() -> LabelledScan:
    """A bright ball of two shells in the dark, a little off the middle, at 2 mm."""
    x, y, z = (torch.arange(n, dtype=torch.float32) for n in SHAPE)
    r2 = (x[:, None, None] - 19) ** 2 + (y[None, :, None] - 23) ** 2 + (z[None, None, :] - 17) ** 2
    labels = (r2 < 13**2).to(torch.uint8) + (r2 < 8**2).to(torch.uint8)
    image = torch.tensor([2.0, 60.0, 100.0])[labels.long()]
    return LabelledScan(image, labels, (2.0, 2.0, 2.0))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_strength_of_zero_is_the_scan_itself(name: str, pair: LabelledScan) -> None:
    assert DEGRADATIONS[name].apply(pair, 0.0) is pair


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_little_strength_changes_little_and_more_changes_more(name: str, pair: LabelledScan) -> None:
    degradation = DEGRADATIONS[name]

    def change(strength: float) -> float:
        found = degradation.apply(pair, strength)
        if found.image.shape != pair.image.shape:
            return float(pair.image.numel() - found.image.numel())
        return float((found.image - pair.image).abs().mean())

    first, last = degradation.steps[0], degradation.steps[-1]
    tiny = change(first / 1000)
    assert tiny <= change(first) < change(last)
    # averages begin with the voxel beside; the air above the head goes first; filling air begins with masking it
    assert tiny < 1.0 or name in ("resolution", "thick slices", "field of view", "background")


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_seed_means_the_same_scan_and_another_seed_another(name: str, pair: LabelledScan) -> None:
    degradation = DEGRADATIONS[name]
    one, same, other = (degradation.apply(pair, degradation.steps[1], seed=seed).image for seed in (1, 1, 2))
    assert torch.equal(one, same)
    drawn = name in ("bias field", "noise", "motion", "rotation")
    assert torch.equal(one, other) is not drawn


@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_strength_below_zero_or_none_is_refused(strength: float, pair: LabelledScan) -> None:
    with pytest.raises(ValueError, match="strength must be 0 or more"):
        DEGRADATIONS["noise"].apply(pair, strength)


def test_bright_level_is_exceeded_by_one_voxel_in_a_hundred() -> None:
    assert bright_level(torch.arange(1001.0).view(7, 11, 13)) == pytest.approx(990)


def test_bias_field_has_the_standard_deviation_that_is_asked_for(pair: LabelledScan) -> None:
    field = (DEGRADATIONS["bias field"].apply(pair, 0.4).image / pair.image).log()
    assert float(field.std()) == pytest.approx(0.4, rel=1e-3)
    assert float(field.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float((field[1:] - field[:-1]).abs().max()) < 0.2  # smooth


def test_noise_is_rician_of_the_asked_strength(pair: LabelledScan) -> None:
    found = DEGRADATIONS["noise"].apply(pair, 0.1).image
    inside = pair.labels == 2
    assert float(found[inside].std()) == pytest.approx(10, rel=0.1)
    dark = found[pair.labels == 0]
    assert float(dark.mean()) == pytest.approx(10 * math.sqrt(math.pi / 2) * 1.06, rel=0.1)
    assert float(found.min()) >= 0


@pytest.mark.parametrize(("name", "axes"), [("resolution", (0, 1, 2)), ("thick slices", (2,))])
def test_detail_is_lost_along_the_right_axes_and_the_mean_is_kept(
    name: str, axes: tuple[int, ...], pair: LabelledScan
) -> None:
    stripes = torch.zeros(SHAPE)
    stripes[::2] += 1
    stripes[:, ::2] += 1
    stripes[:, :, ::2] += 1
    found = DEGRADATIONS[name].apply(pair.with_image(stripes), 6.0).image[4:-4, 4:-4, 4:-4]
    left = [float((found.narrow(a, 1, 10) - found.narrow(a, 0, 10)).abs().mean()) for a in range(3)]
    assert [value < 0.1 for value in left] == [axis in axes for axis in range(3)]
    assert [value > 0.9 for value in left] == [axis not in axes for axis in range(3)]
    assert float(found.mean()) == pytest.approx(1.5, abs=0.05)


def test_motion_keeps_the_head_where_it_is(pair: LabelledScan) -> None:
    found = DEGRADATIONS["motion"].apply(pair, 4.0).image
    axes = [torch.arange(n, dtype=torch.float32) for n in SHAPE]
    for axis, places in enumerate(axes):
        others = tuple(other for other in range(3) if other != axis)
        before, after = ((volume - 5).clamp(min=0).sum(others) for volume in (pair.image, found))
        assert float((before * places).sum() / before.sum()) == pytest.approx(
            float((after * places).sum() / after.sum()), abs=1.0
        )
    assert float((found - pair.image).abs().max()) > 20


def test_field_of_view_loses_its_upper_end_with_the_labels(pair: LabelledScan) -> None:
    found = DEGRADATIONS["field of view"].apply(pair, 20.0)
    # the head ends below slice 30: ten slices of 2 mm less are left
    assert found.image.shape == found.labels.shape == (40, 44, 20)
    assert torch.equal(found.image, pair.image[..., :20])
    assert torch.equal(found.labels, pair.labels[..., :20])
    assert DEGRADATIONS["field of view"].apply(pair, 1e6).image.shape[2] == 1


def test_rotation_turns_image_and_labels_together(pair: LabelledScan) -> None:
    corner = torch.zeros(SHAPE)
    corner[20:30, 22:30, 18:24] = 100.0
    boxed = LabelledScan(corner, (corner > 50).to(torch.uint8), pair.spacing_mm)
    found = DEGRADATIONS["rotation"].apply(boxed, 60.0)
    agree = ((found.image > 50) == (found.labels > 0)).float().mean()
    assert float(agree) > 0.99
    assert float(found.labels.sum()) == pytest.approx(float(boxed.labels.sum()), rel=0.03)
    overlap = float((found.labels * boxed.labels).sum() / boxed.labels.sum())
    assert overlap < 0.7


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 2.0, 3.0)])
def test_rotation_keeps_lengths_whatever_the_voxels(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(80 / v) for v in spacing)
    at = [(torch.arange(n) + 0.5) * v - 40 for n, v in zip(shape, spacing, strict=True)]
    r2 = at[0][:, None, None] ** 2 + at[1][None, :, None] ** 2 + at[2][None, None, :] ** 2
    ball = (r2 < 25**2).float() * 100
    found = DEGRADATIONS["rotation"].apply(LabelledScan(ball, (ball > 0).to(torch.uint8), spacing), 45.0)
    assert float((found.labels != (ball > 0)).float().mean()) < 0.02


def test_contrast_brings_tissues_together_and_keeps_the_bright_ones(pair: LabelledScan) -> None:
    found = DEGRADATIONS["contrast"].apply(pair, 1.0).image
    means = [float(found[pair.labels == n].mean()) for n in range(3)]
    np.testing.assert_allclose(means, [math.sqrt(0.02) * 100, math.sqrt(0.6) * 100, 100], rtol=1e-4)
    negative = DEGRADATIONS["contrast"].apply(pair.with_image(pair.image - 10), 1.0).image
    assert float(negative.min()) == -8.0


def test_offset_moves_every_voxel_by_so_many_bright_levels(pair: LabelledScan) -> None:
    found = DEGRADATIONS["offset"].apply(pair, 4.0).image
    torch.testing.assert_close(found, pair.image - 400)


def test_background_fills_the_air_and_nothing_else(pair: LabelledScan) -> None:
    image = pair.image.clone()
    image[19, 23, 17] = 0  # dark, but inside
    levels = set()
    for seed in range(8):
        found = DEGRADATIONS["background"].apply(pair.with_image(image), 0.5, seed=seed).image
        assert torch.equal(found[pair.labels > 0], image[pair.labels > 0])
        levels |= set(found[pair.labels == 0].tolist())
    assert levels == {50.0, -50.0}
