"""Profiles: files, pooling of scans, and what the generator draws from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lodbrain.contrast_analysis.analysis import ScanFit
from lodbrain.contrast_analysis.bias_fit import LogField
from lodbrain.contrast_analysis.goodness import BINS, Histogram
from lodbrain.contrast_analysis.mixture import GROUPS, Mixture
from lodbrain.contrast_analysis.pooling import pool
from lodbrain.errors import UsageError
from lodbrain.labels import SIDELESS
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.generator import draw_plan
from lodbrain.synthesis.generator_settings import GeneratorSettings
from lodbrain.synthesis.intensities import T1W_PRIOR
from lodbrain.synthesis.label_map import CODE_OF_RAW, MIRROR_OF_CODE, LabelMap
from lodbrain.synthesis.profile import (
    Air,
    BiasStatistics,
    ContrastProfile,
    Intensity,
    NoiseStatistics,
    read_profile,
    write_profile,
)
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.tailored import draw_from_profile, settings_like

WHITE, CORTEX, CAUDATE = (SIDELESS.index(name) for name in ("Cerebral-White-Matter", "Cerebral-Cortex", "Caudate"))


def scan(
    *, cortex: float = 100.0, without: str | None = None, outside: tuple[float, ...] = (0.0, 50.0, 300.0)
) -> ScanFit:
    """A fit of all structures; grey matter as given."""
    means = np.full(len(SIDELESS), np.nan)
    for group, mean in (("white", 160.0), ("grey", cortex), ("deep grey", 120.0), ("fluid", 40.0)):
        for name in GROUPS[group]:
            if name != without:
                means[SIDELESS.index(name)] = mean
    there = np.where(np.isfinite(means), 1.0, 0.0)
    mixture = Mixture(means, np.where(there, 8.0, np.nan), 5000 * there, there, 0.02, 0.0, 200.0, 1.0, False)
    even = np.full(BINS, 1 / BINS)
    histogram = Histogram(np.linspace(0, 200, BINS), even, {"white": even}, 0 * even, 0 * even)
    return ScanFit(
        mixture=mixture,
        volumes_ml=10 * there,
        field=LogField(np.zeros((4, 4, 4)), np.zeros(3)),
        bias=BiasStatistics(0.1, 40.0),
        noise=NoiseStatistics(0.03, 1.0, "background"),
        background=Air("rician", 0.03),
        spacing_mm=np.array([0.8, 1.0, 1.25]),
        outside=outside,
        histogram=histogram,
        offset=0.0,
        unit=1.0,
        iterations=9,
    )


@pytest.fixture
def profile() -> ContrastProfile:
    return pool([scan(cortex=90), scan(cortex=100), scan(cortex=110)], ["a", "b", "c"])


def draws(profile: ContrastProfile, count: int = 400) -> torch.Tensor:
    """(count, 2, N_CODES): means and spreads of the first sub-class."""
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_from_profile(profile, generator) for _ in range(count)]
    return torch.stack([torch.stack([each.means[:, 0], each.sds[:, 0]]) for each in drawn])


def test_pooled_scans_give_their_mean_and_their_spread(profile: ContrastProfile) -> None:
    cortex = profile.structures["Cerebral-Cortex"]
    assert (cortex.mean, cortex.sd, cortex.between_scans) == pytest.approx((100, 8, 10))
    assert profile.structures["Cerebral-White-Matter"].between_scans == pytest.approx(0)
    assert cortex.pure_ml == pytest.approx(5.0)
    assert profile.contrast_to_noise["white - grey"] == pytest.approx(60 / 8)
    assert profile.noise.sd == pytest.approx(0.03)
    assert [each.name for each in profile.scans] == ["a", "b", "c"]


def test_one_scan_tells_nothing_of_the_spread_between_scans() -> None:
    assert pool([scan()], ["a"]).structures["Cerebral-Cortex"].between_scans is None


def test_a_structure_counts_where_it_is_there() -> None:
    some = pool([scan(), scan(without="Caudate")], ["a", "b"])
    assert some.structures["Caudate"].mean == 120
    assert "Caudate" not in pool([scan(without="Caudate")], ["a"]).structures
    with pytest.raises(ValueError, match="fits must hold at least one scan"):
        pool([], [])


def test_a_profile_is_read_as_it_was_written(profile: ContrastProfile, tmp_path: Path) -> None:
    write_profile(tmp_path / "contrast.yaml", profile)
    back = read_profile(tmp_path / "contrast.yaml")
    write_profile(tmp_path / "again.yaml", back)
    assert (tmp_path / "contrast.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes()
    assert read_profile(tmp_path / "again.yaml") == back
    for name, look in profile.structures.items():
        assert vars(back.structures[name]) == pytest.approx(vars(look), rel=1e-3)
    assert (vars(back.bias), back.outside) == (pytest.approx(vars(profile.bias)), profile.outside)
    assert [each.name for each in back.scans] == ["a", "b", "c"]


def test_the_file_can_be_read_by_people(profile: ContrastProfile, tmp_path: Path) -> None:
    write_profile(tmp_path / "contrast.yaml", profile)
    lines = (tmp_path / "contrast.yaml").read_text().splitlines()
    assert lines[0].startswith("# Contrast of MRI scans")
    assert (
        "  Cerebral-Cortex: {mean: 100.0, sd: 8.0, between_scans: 10.0, volume_ml: 10.0, pure_ml: 5.0, own: 1.0}"
        in lines
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structures": {}}, "structures must hold Cerebral-Cortex"),
        ({"version": 9}, "version must be 1, got 9"),
        ({"voxel_mm": 0.0}, "must be positive"),
        ({"voxel_mm": float("nan")}, "voxel_mm"),
        ({"spleen": 1}, "spleen"),
        ({"noise": {"sd": "much", "fwhm_mm": 1.0, "measured_in": "air"}}, r"noise\.sd"),
        ({"noise": {"sd": -1.0, "fwhm_mm": 1.0, "measured_in": "air"}}, "must not be negative"),
        ({"background": {"kind": "blue", "level": 1.0}}, r"background\.kind"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(
    profile: ContrastProfile, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "contrast.yaml"
    write_profile(path, profile)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(UsageError, match=message):
        read_profile(path)


def test_missing_and_garbled_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_profile(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UsageError, match="is not YAML"):
        read_profile(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(UsageError, match=r"list\.yaml"):
        read_profile(tmp_path / "list.yaml")


def test_unknown_names_and_negative_spreads_are_refused(profile: ContrastProfile) -> None:
    look = Intensity(1.0, -1.0, None, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"structures\.Caudate: standard deviations must not be negative"):
        replace(profile, structures=profile.structures | {"Caudate": look})
    with pytest.raises(ValueError, match="must be names of the label table, got 'Spleen'"):
        replace(profile, structures=profile.structures | {"Spleen": look})


def test_drawn_contrasts_spread_around_the_profile_as_its_scans_do(profile: ContrastProfile) -> None:
    means, sds = draws(profile).unbind(1)
    cortex, white = CODE_OF_RAW[3], CODE_OF_RAW[2]
    assert float(means[:, cortex].mean()) == pytest.approx(100, abs=1.5)
    assert float(means[:, cortex].std()) == pytest.approx(10, rel=0.12)
    assert float(means[:, white].std()) == pytest.approx(0.03 * 160, rel=0.12)  # at least 3%
    assert float(sds[:, cortex].median()) == pytest.approx(np.sqrt(8**2 - 4.8**2), rel=0.05)  # without the noise


def test_both_sides_look_the_same(profile: ContrastProfile) -> None:
    means = draws(profile, 3)[:, 0, :33]
    torch.testing.assert_close(means, means[:, MIRROR_OF_CODE[:33]])


def test_background_is_empty_and_the_head_is_as_bright_as_the_scans(profile: ContrastProfile) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_from_profile(profile, generator).means for _ in range(100)])
    assert float(drawn[:, 0].abs().max()) == 0
    skin = drawn[:, CODE_OF_RAW[516]]
    assert float(skin.median()) == pytest.approx(50, abs=12)
    assert 250 < float(skin.max()) <= 300
    assert float(skin.std(1).min()) > 0  # its parts differ
    assert float(drawn[:, CODE_OF_RAW[501]].std(1).max()) == pytest.approx(0, abs=1e-3)


def test_lesions_lie_between_the_tissues_that_surround_them_in_the_prior(profile: ContrastProfile) -> None:
    means = draws(profile)[:, 0].mean(0)
    grey, white = (float(T1W_PRIOR[CODE_OF_RAW[raw], 0]) for raw in (3, 2))
    along = (float(T1W_PRIOR[CODE_OF_RAW[78], 0]) - grey) / (white - grey)
    assert float(means[CODE_OF_RAW[78]]) == pytest.approx(100 + along * 60, abs=2)


def test_without_csf_the_ventricles_stand_for_fluid() -> None:
    fluid = draws(pool([scan(without="CSF")], ["a"]))[:, 0, CODE_OF_RAW[24]]
    assert float(fluid.mean()) == pytest.approx(40, abs=1.5)


def test_the_same_seed_draws_the_same(profile: ContrastProfile) -> None:
    one, other = (draw_from_profile(profile, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.means, other.means) and torch.equal(one.sds, other.sds)
    assert one.kind == "profile"


def test_tailored_settings_draw_the_bias_that_was_measured(profile: ContrastProfile) -> None:
    settings = settings_like(profile)
    generator = torch.Generator().manual_seed(0)
    grid = Grid((20, 20, 20), (7.0, 7.0, 7.0), (-70.0, -70.0, -70.0))
    strengths = []
    for _ in range(200):  # as the generator draws it, on lattices of 40 mm
        control = (
            random_control(1, 40.0, 320.0, generator)
            * settings.bias.strength
            * float(torch.rand((), generator=generator))
        )
        strengths.append(float(SmoothField(control, 40.0).on(grid).std()))
    assert np.mean(strengths) == pytest.approx(profile.bias.log_sd, rel=0.1)


def test_tailored_settings_follow_the_scans(profile: ContrastProfile) -> None:
    settings = settings_like(profile, GeneratorSettings(field_of_view=RandomFieldOfView(shift_mm=3.0)))
    assert (settings.field_of_view.voxel_mm, settings.field_of_view.shift_mm) == ((0.8, 0.8), 3.0)
    assert (settings.uhf_share, settings.stripping.share) == (0, 0)
    assert (settings.slices.share, settings.slices.thickest_mm) == (1, 1.25)  # sides of 0.8 to 1.25 mm: slices
    assert settings.noise.level == pytest.approx(0.03 / 0.4)
    assert settings.noise.rician_share == 1
    bare = replace(scan(outside=()), background=Air("zero", 0.0), spacing_mm=np.ones(3))
    assert settings_like(pool([bare], ["a"])).stripping.share == 1


def test_share_of_scans_that_resemble_the_profile(profile: ContrastProfile, head: LabelMap) -> None:
    def kinds(share: float, profile: ContrastProfile | None = profile) -> list[str]:
        settings = GeneratorSettings(profile=profile, profile_share=share)
        return [draw_plan(head, settings, torch.Generator().manual_seed(seed)).contrast.kind for seed in range(12)]

    assert set(kinds(1.0)) == {"profile"}
    assert "profile" not in kinds(0.0)
    assert 2 <= kinds(0.5).count("profile") <= 10
    assert "profile" not in kinds(1.0, None)


def test_scans_of_a_profile_have_its_background_and_voxels(head: LabelMap) -> None:
    ratio = replace(scan(), background=Air("mp2rage", 1.0), spacing_mm=np.full(3, 0.7))
    settings = GeneratorSettings(profile=pool([ratio], ["a"]))
    plan = draw_plan(head, settings, torch.Generator().manual_seed(1))
    assert plan.background is not None and plan.background.kind == "mp2rage"
    assert plan.background.level == pytest.approx(1, rel=0.2)
    assert plan.scan.spacing_mm == pytest.approx((0.7, 0.7, 0.7), rel=0.16)
