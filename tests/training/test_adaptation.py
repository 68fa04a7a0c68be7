import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lodbrain.errors import InputError, UsageError
from lodbrain.models.lod import Ladder, LevelConfig
from lodbrain.synthesis.profile import Air, BiasStatistics, ContrastProfile, Intensity, NoiseStatistics, ScanRecord
from lodbrain.training.adaptation import adapt, blend
from lodbrain.training.adaptation_config import AdaptSettings, tuning_config
from lodbrain.training.adaptation_measures import (
    NO_WORSE,
    Measures,
    added_bias,
    agreement,
    class_dice,
    decide,
    paired_interval,
)
from lodbrain.training.adaptation_report import AdaptReport, write_report
from lodbrain.training.validation import ValidationScores


@pytest.fixture
def profile() -> ContrastProfile:
    noise, bias, air = NoiseStatistics(0.02, 1.0, "background"), BiasStatistics(0.05, 60.0), Air("rician", 0.02)
    looks = {
        "Cerebral-White-Matter": Intensity(160, 8, None, 400.0, 300.0, 1.0),
        "Cerebral-Cortex": Intensity(100, 10, None, 500.0, 300.0, 1.0),
    }
    scan = ScanRecord("a.nii.gz", (1.0, 1.0, 1.0), bias, noise, air, 0.01, 0.02, 10)
    return ContrastProfile(looks, {}, bias, noise, air, 1.0, (0.0, 50.0, 200.0), (scan,))


def _ladder(seed: int, exponents: tuple[int, ...] = (2, 1, 0)) -> Ladder:
    torch.manual_seed(seed)
    ladder = Ladder(tuple(LevelConfig(e, (4, 8)) for e in exponents))
    for p in ladder.parameters():
        torch.nn.init.normal_(p)
    return ladder


def _measures(tailored: float, general: float, flip: float, bias: float) -> Measures:
    """Twelve synthetic scans around a mean Dice, three real ones."""
    spread = torch.linspace(-0.01, 0.01, 12).double()[:, None]

    def scores(mean: float) -> ValidationScores:
        return ValidationScores((mean + spread).expand(12, 32), (mean + spread).expand(12, 6))

    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:10, 2:10, 2:10] = 1
    return Measures(scores(tailored), scores(general), np.full(3, flip), np.full(3, bias), (labels,) * 3, (0.001,) * 3)


BEFORE = (0.70, 0.80, 0.90, 0.85)


@pytest.mark.parametrize(
    ("after", "passed", "reasons"),
    [
        ((0.72, 0.80, 0.92, 0.86), True, ["yes", "yes", "yes", "yes"]),
        ((0.72, 0.7985, 0.92, 0.86), True, ["yes", "yes", "yes", "yes"]),  # within what varies
        ((0.69, 0.80, 0.92, 0.86), False, ["no", "yes", "yes", "yes"]),
        ((0.72, 0.80, 0.90, 0.86), False, ["yes", "no", "yes", "yes"]),  # no more consistent
        ((0.72, 0.80, 0.92, 0.84), False, ["yes", "yes", "no", "yes"]),
        ((0.72, 0.80 - 2 * NO_WORSE, 0.92, 0.86), False, ["yes", "yes", "yes", "no"]),
    ],
)
def test_tuned_model_is_kept_only_where_all_is_better(
    after: tuple[float, ...], passed: bool, reasons: list[str]
) -> None:
    found, lines = decide(_measures(*BEFORE), _measures(*after))
    assert found is passed
    assert [line.split(":")[0] for line in lines] == reasons


def test_gain_that_may_be_chance_is_no_gain() -> None:
    before, after = _measures(*BEFORE), _measures(0.70, 0.81, 0.92, 0.86)
    noise = torch.tensor([0.03, -0.028] * 6).double()[:, None].expand(12, 32)
    lucky = Measures(
        ValidationScores(before.tailored.structures + noise, before.tailored.tissues),
        after.general,
        after.flip,
        after.bias,
        (),
        (),
    )
    mean, low, high = paired_interval(np.array([0.03, -0.028] * 6))
    assert low < 0 < mean < high
    assert decide(before, lucky)[0] is False


def test_interval_of_paired_differences_is_that_of_their_mean() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.2, 400)
    mean, low, high = paired_interval(np.append(values, np.nan))
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.645 * 0.2 / 20, rel=0.15)
    assert all(math.isnan(v) for v in paired_interval(np.array([np.nan])))


def test_agreement_is_the_mean_dice_of_the_structures() -> None:
    one = np.zeros((20, 20, 20), np.uint8)
    one[:, :10], one[:, 10:15] = 1, 2
    two = one.copy()
    two[:, :5] = 3  # half of class 1 is called 3
    dice = class_dice(one, two)
    assert dice[1] == pytest.approx(2 * 5 / 15)
    assert (dice[2], dice[3]) == (1, 0)
    assert math.isnan(dice[4])
    assert agreement(one, two) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert agreement(one, one) == 1
    assert agreement(one, None) == agreement(None, one) == 0


def test_added_bias_is_smooth_and_the_same_each_time() -> None:
    field = added_bias((40, 50, 30), (3.0, 3.0, 3.0))
    assert np.array_equal(field, added_bias((40, 50, 30), (3.0, 3.0, 3.0)))
    assert float(np.log(field).std()) == pytest.approx(0.2, abs=1e-3)
    assert float(np.abs(np.diff(np.log(field), axis=0)).max()) < 0.1


def test_blend_moves_the_tuned_levels_and_no_other() -> None:
    base, tuned = _ladder(0), _ladder(1, (2, 1))
    half, whole = blend(base, tuned, 0.5), blend(base, tuned, 1.0)
    for name, value in base.state_dict().items():
        other = tuned.state_dict().get(name, value)
        torch.testing.assert_close(whole.state_dict()[name], other)
        torch.testing.assert_close(half.state_dict()[name], (value + other) / 2)
    assert "levels.2.head.weight" not in tuned.state_dict()


def test_tuning_keeps_coarse_levels_and_draws_from_the_profile(
    profile: ContrastProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(tmp_path / f"training_seg_{n:02}.nii.gz" for n in range(1, 21))
    monkeypatch.setattr("lodbrain.training.adaptation_config.find_labelmaps", lambda folder: names)
    base = _ladder(0, (2, 1, 0, -1))
    settings = AdaptSettings(minutes=10, levels=2)
    config = tuning_config(base, 2, tmp_path / "mine.safetensors", settings, "cpu")
    assert [level.exponent for level in config.levels] == [2, 1, 0]
    assert [level.steps for level in config.levels] == [0, None, None]
    assert [level.seconds for level in config.levels] == [None, 300, 300]
    assert config.validate_on == tuple(f"training_seg_{n}" for n in range(17, 21))
    assert len(config.train) == 16
    assert config.tailored is not None
    assert config.tailored.profile == tmp_path / "mine_contrast.yaml"
    assert config.start == "default"


def test_report_says_what_was_kept_and_what_changed(profile: ContrastProfile, tmp_path: Path) -> None:
    before, after = _measures(*BEFORE), _measures(0.72, 0.80, 0.92, 0.86)
    volumes = {"Left-Thalamus": {"before_ml": 7.0, "after_ml": 7.5, "same": math.nan}}
    report = AdaptReport(
        "m.safetensors", "default", True, ("a.nii.gz",), profile, before.summary(), after.summary(),
        decide(before, after)[1], volumes, 3.0, {"l": 9},
    )  # fmt: skip
    write_report(tmp_path / "m.safetensors", report)
    found = json.loads((tmp_path / "m_adapt.json").read_text())
    assert found["kept"] is True
    assert found["before"]["tailored_structures"] == pytest.approx(0.70)
    assert found["volumes"]["Left-Thalamus"] == {"before_ml": 7.0, "after_ml": 7.5, "same": None}
    page = (tmp_path / "m_adapt.md").read_text()
    assert "**The tuned model was kept**" in page
    assert "| consistency of the scans when mirrored | 0.9000 | 0.9200 | +0.0200 |" in page
    assert "| Cerebral-Cortex | 100 ± 10 | 96 ± 19 |" in page
    assert "| Left-Thalamus | 7.00 | 7.50 | - |" in page


@pytest.mark.parametrize("change", [{"minutes": 0}, {"levels": 0}, {"held_out": 0}])
def test_settings_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        AdaptSettings(**change)


def test_model_of_another_format_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model\.pt: a model's name ends in \.safetensors"):
        adapt([tmp_path / "a.nii.gz"], tmp_path / "model.pt")


def test_missing_label_maps_are_reported_before_the_scans_are_analysed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LODBRAIN_DATA", raising=False)

    def never(*given: object, **named: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr("lodbrain.training.adaptation.load_model", never)
    monkeypatch.setattr("lodbrain.training.adaptation.analyse_scans", never)
    hint = "Run: lodbrain fetch labelmaps, or name a folder of your own with --labelmaps"
    with pytest.raises(InputError, match=hint):
        adapt([tmp_path / "a.nii.gz"], tmp_path / "model.safetensors")
    (tmp_path / "empty").mkdir()
    settings = AdaptSettings(labelmaps=tmp_path / "empty")
    with pytest.raises(InputError, match="empty: holds no label maps"):
        adapt([tmp_path / "a.nii.gz"], tmp_path / "model.safetensors", settings)
