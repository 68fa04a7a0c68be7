"""A phantom of nested ellipsoids with known looks, partial volume, bias and noise: the fit gives them back."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lodbrain.contrast_analysis.analysis import WHITE_LEVEL, ScanFit, analyse
from lodbrain.contrast_analysis.goodness import check_fit
from lodbrain.errors import InputError
from lodbrain.labels import CLASS_OF_INDEX, N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES

SPACING_MM = np.array([3.0, 3.0, 3.0])
SHAPE = (42, 48, 38)

#: FreeSurfer number, centre and half axes in mm from the middle, on the right; mirrored to the left.
BODIES = (
    (24, (0, 0, 0), (59, 68, 53)), (42, (0, 0, 0), (51, 60, 46)), (41, (0, 0, 0), (43, 52, 38)),
    (43, (14, 5, 12), (10, 24, 8)), (49, (14, -12, -4), (9, 14, 9)), (51, (27, 10, -4), (7, 14, 10)),
    (52, (19, 4, -6), (5, 8, 7)), (50, (17, 26, 2), (6, 9, 8)), (58, (10, 28, -14), (6, 7, 6)),
    (53, (24, -22, -18), (6, 12, 6)),
)  # fmt: skip

#: Mean and standard deviation on the scale where white matter is 160.
T1W = {
    "Cerebral-White-Matter": (160, 5), "Cerebral-Cortex": (100, 7), "CSF": (40, 6), "Lateral-Ventricle": (36, 4),
    "Thalamus": (132, 5), "Putamen": (120, 5), "Pallidum": (148, 4), "Caudate": (106, 5), "Accumbens-area": (104, 5),
    "Hippocampus": (102, 6),
}  # fmt: skip
T2W = {name: (230 - 0.9 * mean, sd) for name, (mean, sd) in T1W.items()}


@dataclass
class Phantom:
    """A scan and the truth about it."""

    data: np.ndarray
    classes: np.ndarray
    log_bias: np.ndarray
    looks: dict[str, tuple[float, float]]
    noise: float

    def fit(self, **changes: object) -> ScanFit:
        known = {"data": self.data, "spacing_mm": SPACING_MM, "labels": self.classes} | changes
        return analyse(**known)


def phantom(
    looks: dict[str, tuple[float, float]] = T1W,
    *,
    bias: float = 0.15,
    noise: float = 4.0,
    air: str = "rician",
    seed: int = 0,
) -> Phantom:
    """Drawn at twice the resolution and averaged: true partial volume."""
    rng = np.random.default_rng(seed)
    fine = [2 * n for n in SHAPE]
    x, y, z = np.meshgrid(*(((np.arange(n) + 0.5) / 2 - n / 4) * 3.0 for n in fine), indexing="ij")
    classes = np.zeros(fine, np.uint8)
    for number, (cx, cy, cz), (a, b, c) in BODIES:
        for side, raw in ((1, number), (-1, STRUCTURES[CLASS_OF_INDEX[number]].mirror)):
            inside = ((x - side * cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 < 1
            classes[inside & (side * x >= 0)] = CLASS_OF_INDEX[raw]
    table = np.array([looks.get(name, (0, 0)) for name in SIDELESS])[SIDELESS_OF_CLASS]
    shares = np.stack([blocks(classes == each) for each in range(N_CLASSES)])
    means, sds = np.tensordot(table.T, shares, 1)
    log_bias = bias * np.sqrt(2) * (np.sin(x / 55 + y / 90) * np.cos(z / 70 + 0.5))
    log_bias = blocks(log_bias)
    labels = shares.argmax(0)
    log_bias -= log_bias[labels > 0].mean()
    image = (means + sds * rng.normal(size=SHAPE)) * np.exp(log_bias)
    image = np.hypot(*(image * part + noise * rng.normal(size=SHAPE) for part in (1, 0)))
    if air == "mp2rage":
        image = np.where(shares[0] > 0.5, rng.uniform(0, 180, SHAPE), image)
    if air == "zero":
        image = np.where(labels > 0, image, 0)
    return Phantom(image.astype(np.float32), labels, log_bias, looks, noise)


def blocks(fine: np.ndarray) -> np.ndarray:
    x, y, z = SHAPE
    return fine.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))


def softened(classes: np.ndarray) -> np.ndarray:
    """(X, Y, Z, 33) float32: what a network might say."""
    hard = (classes[..., None] == np.arange(N_CLASSES)).astype(np.float32)
    soft = 0.7 * hard
    for axis in range(3):
        soft += 0.05 * (np.roll(hard, 1, axis) + np.roll(hard, -1, axis))
    return soft


def seen(fit: ScanFit, name: str) -> tuple[float, float]:
    position = SIDELESS.index(name)
    return fit.mixture.means[position], fit.mixture.sds[position]


@pytest.fixture(scope="module")
def t1w() -> Phantom:
    return phantom()


@pytest.fixture(scope="module")
def t1w_fit(t1w: Phantom) -> ScanFit:
    return t1w.fit()


def test_the_phantom_tells_of_all_its_structures(t1w: Phantom) -> None:
    assert {SIDELESS[k] for k in np.unique(SIDELESS_OF_CLASS[t1w.classes])} == {*t1w.looks, "Background"}


@pytest.mark.parametrize("name", sorted(T1W))
def test_means_and_spreads_that_were_put_in_come_out(t1w_fit: ScanFit, name: str) -> None:
    mean, sd = T1W[name]
    found_mean, found_sd = seen(t1w_fit, name)
    assert found_mean == pytest.approx(mean, abs=0.02 * WHITE_LEVEL)
    assert found_sd == pytest.approx(np.hypot(sd, 4.0), rel=0.2)


def test_the_bias_field_that_was_put_in_comes_out(t1w: Phantom, t1w_fit: ScanFit) -> None:
    brain = t1w.classes > 0
    found = t1w_fit.field.on(SHAPE, SPACING_MM)[brain]
    assert np.corrcoef(found, t1w.log_bias[brain])[0, 1] > 0.98
    assert found.mean() == pytest.approx(0, abs=0.003)
    assert t1w_fit.bias.log_sd == pytest.approx(t1w.log_bias[brain].std(), rel=0.1)
    assert 35 < t1w_fit.bias.scale_mm < 90  # sine waves of 55 to 90 mm


def test_noise_is_measured_in_the_air(t1w_fit: ScanFit) -> None:
    assert t1w_fit.background.kind == t1w_fit.noise.measured_in.replace("background", "rician") == "rician"
    assert 160 * t1w_fit.noise.sd == pytest.approx(4.0, rel=0.05)


def test_volumes_are_those_of_the_labels(t1w: Phantom, t1w_fit: ScanFit) -> None:
    white = np.isin(t1w.classes, [CLASS_OF_INDEX[2], CLASS_OF_INDEX[41]]).sum()
    assert t1w_fit.volumes_ml[SIDELESS.index("Cerebral-White-Matter")] == pytest.approx(white * 0.027)


def test_the_fitted_histogram_is_the_observed_one(t1w_fit: ScanFit) -> None:
    assert t1w_fit.histogram.observed.sum() == pytest.approx(1, abs=0.01)
    assert t1w_fit.histogram.fitted.sum() == pytest.approx(1, abs=0.03)
    assert t1w_fit.histogram.distance() < 3.0


def test_a_contrast_in_reverse_is_fitted_as_well() -> None:
    scan = phantom(T2W, bias=0.1)
    fit = scan.fit()
    unit = WHITE_LEVEL / T2W["Cerebral-White-Matter"][0]
    for name in ("Cerebral-Cortex", "CSF", "Thalamus", "Putamen"):
        assert seen(fit, name)[0] == pytest.approx(T2W[name][0] * unit, rel=0.03), name


def test_without_bias_and_partial_volume_the_fit_is_the_statistics_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    classes = phantom().classes
    table = np.array([T1W.get(name, (0, 0)) for name in SIDELESS])[SIDELESS_OF_CLASS]
    data = table[classes, 0] + table[classes, 1] * rng.normal(size=SHAPE)
    fit = analyse(data, SPACING_MM, classes)
    direct = data[SIDELESS_OF_CLASS[classes] == SIDELESS.index("Cerebral-White-Matter")].mean()
    for name in ("Cerebral-White-Matter", "Cerebral-Cortex", "CSF", "Lateral-Ventricle"):
        values = data[SIDELESS_OF_CLASS[classes] == SIDELESS.index(name)] * WHITE_LEVEL / direct
        found_mean, found_sd = seen(fit, name)
        assert found_mean == pytest.approx(values.mean(), abs=0.005 * WHITE_LEVEL), name
        assert found_sd == pytest.approx(values.std(), rel=0.1), name
    assert fit.bias.log_sd < 0.01


def test_soft_posteriors_give_what_labels_give(t1w: Phantom, t1w_fit: ScanFit) -> None:
    fit = t1w.fit(posteriors=softened(t1w.classes))
    for name in T1W:
        assert seen(fit, name)[0] == pytest.approx(seen(t1w_fit, name)[0], abs=0.03 * WHITE_LEVEL), name


def test_a_gain_of_the_scanner_changes_nothing(t1w: Phantom, t1w_fit: ScanFit) -> None:
    fit = t1w.fit(data=t1w.data * np.float32(37))
    np.testing.assert_allclose(fit.mixture.means, t1w_fit.mixture.means, rtol=1e-3)
    assert fit.unit == pytest.approx(t1w_fit.unit / 37, rel=1e-3)


def test_the_same_scan_gives_the_same_fit(t1w: Phantom, t1w_fit: ScanFit) -> None:
    fit = t1w.fit()
    np.testing.assert_array_equal(fit.mixture.means, t1w_fit.mixture.means)
    np.testing.assert_array_equal(fit.field.control, t1w_fit.field.control)


def test_signed_mp2rage_with_its_noisy_background_is_fitted() -> None:
    scan = phantom(bias=0.05, air="mp2rage")
    fit = scan.fit(data=scan.data / 180 - np.float32(0.5))
    assert fit.background.kind == "mp2rage"
    assert 160 * fit.background.level == pytest.approx(180, rel=0.1)
    assert fit.offset == pytest.approx(-0.5, abs=0.01)
    assert fit.outside == ()
    for name in ("Cerebral-Cortex", "Thalamus", "Putamen"):
        assert seen(fit, name)[0] == pytest.approx(T1W[name][0], rel=0.03), name


def test_a_skull_stripped_scan_has_its_noise_measured_in_white_matter() -> None:
    fit = phantom(air="zero", bias=0.05).fit()
    assert (fit.background.kind, fit.noise.measured_in, fit.outside) == ("zero", "residuals", ())
    assert 160 * fit.noise.sd == pytest.approx(
        np.hypot(4, 5), rel=0.1
    )  # here, the spread of white matter is as fine as noise
    assert seen(fit, "Cerebral-Cortex")[0] == pytest.approx(100, rel=0.03)


def test_white_matter_clipped_at_its_peak_keeps_its_spread(t1w: Phantom) -> None:
    clipped = np.minimum(np.where(t1w.classes > 0, t1w.data / np.exp(t1w.log_bias), 0), 160).astype(np.float32)
    fit = t1w.fit(data=clipped, posteriors=softened(t1w.classes))
    mean, sd = seen(fit, "Cerebral-White-Matter")
    core = clipped[(SIDELESS_OF_CLASS[t1w.classes] == SIDELESS.index("Cerebral-White-Matter")) & (clipped > 140)]
    assert fit.mixture.clipped
    assert sd / mean == pytest.approx(core.std() / core.mean(), rel=0.25)
    assert 160 * fit.noise.sd > 3  # there is none left in white matter


def test_the_head_outside_of_the_brain_is_described(t1w: Phantom) -> None:
    rng = np.random.default_rng(0)
    data = t1w.data.copy()
    data[4:38, 4:44, :6][t1w.classes[4:38, 4:44, :6] == 0] = 250
    data += (t1w.classes == 0) * rng.normal(0, 1, SHAPE)
    outside = t1w.fit(data=np.abs(data)).outside
    assert len(outside) == 11
    assert np.median(outside) == pytest.approx(250, rel=0.1)


def test_noise_without_a_brain_is_refused(t1w: Phantom) -> None:
    noise = np.random.default_rng(0).uniform(50, 100, SHAPE)
    with pytest.raises(InputError, match=r"scan\.nii: white matter and cortex do not differ") as refused:
        t1w.fit(data=noise, name="scan.nii")
    assert refused.value.code == "bad-fit"


def test_labels_of_another_head_are_refused(t1w: Phantom) -> None:
    with pytest.raises(InputError, match=r"off|do not differ|fit no structure"):
        t1w.fit(labels=np.roll(t1w.classes, (10, 11, -8), (0, 1, 2)))


def test_a_map_without_cortex_is_refused(t1w: Phantom) -> None:
    white = np.where(np.isin(t1w.classes, [CLASS_OF_INDEX[2], CLASS_OF_INDEX[41]]), t1w.classes, 0)
    with pytest.raises(InputError, match="only 0 voxels are surely cortex"):
        t1w.fit(labels=white)
    with pytest.raises(InputError, match="no white matter is labelled"):
        t1w.fit(labels=np.zeros_like(white))


def test_labels_on_another_grid_are_refused(t1w: Phantom) -> None:
    with pytest.raises(ValueError, match=r"labels must be on the scan's grid \(42, 48, 38\), got \(41, 48, 38\)"):
        t1w.fit(labels=t1w.classes[1:])


def test_white_matter_that_is_anything_is_refused(t1w_fit: ScanFit) -> None:
    wide = replace(t1w_fit.mixture, sds=7 * t1w_fit.mixture.sds, means=t1w_fit.mixture.means * [1, 1, *[0.3] * 17])
    with pytest.raises(InputError, match=r"labelled as white matter varies by 2\d% of its mean, at most 20% may"):
        check_fit(wide, t1w_fit.histogram)


def test_a_histogram_that_does_not_fit_is_refused(t1w_fit: ScanFit) -> None:
    moved = replace(t1w_fit.histogram, observed=np.roll(t1w_fit.histogram.observed, 20))
    check_fit(t1w_fit.mixture, t1w_fit.histogram)
    with pytest.raises(InputError, match="of the contrast of white and grey matter off"):
        check_fit(t1w_fit.mixture, moved)
