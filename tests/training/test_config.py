from pathlib import Path

import pytest

from lodbrain.errors import UsageError
from lodbrain.inference import precision
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.training.config import Corruption, read_config
from lodbrain.training.state import differences, essence

GOOD = """
name: tiny
out: runs/tiny
train: [a, b]
validate: [c]
levels:
  - {exponent: 2, channels: [4, 8], steps: 10}
  - {exponent: 1, channels: [4], steps: 5, crop: [16, 16, 16], sided: false}
"""
ROOT = Path(__file__).parents[2]


def _read(tmp_path: Path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_config(path)


def test_fields_are_read_and_the_rest_has_defaults(tmp_path: Path) -> None:
    config = _read(tmp_path, GOOD)
    assert (config.name, config.out, config.train, config.validate_on) == (
        "tiny",
        Path("runs/tiny"),
        ("a", "b"),
        ("c",),
    )
    assert [level.exponent for level in config.levels] == [2, 1]
    assert config.levels[0].crop is None
    assert config.levels[1].crop == (16, 16, 16)
    assert (config.levels[0].sided, config.levels[1].sided) == (True, False)
    assert (config.seed, config.batch, config.ema, config.corruption) == (0, 1, 0.999, Corruption())


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("batch: 0", "batch: .*greater than 0"),
        ("learning_rates: 1", "learning_rates: Extra inputs"),
        ("seed: many", "seed: .*integer"),
        ("corruption: {drops: 1}", "corruption.drops: Extra"),
        ("losses: {dices: 1}", "losses.dices: Extra"),
        ("losses: {cross_entropy: 0, dice: 0, tissue_dice: 0}", "losses: at least one weight"),
        ("real: {share: 0.5}", "real: give either manifest or bids"),
        ("report_on: [{manifest: a.csv, name: a b}]", r"report_on.0.name: "),
        ("joint: {}", "joint: give either steps or seconds"),
        ("joint: {steps: 3, seconds: 3}", "joint: give either steps or seconds"),
        ("start_share: 0.5", "start_share: there is no starting model"),
        ("architecture: meshnet", "architecture: meshnet is one network: one level"),
        ("generator: {voxels: [1, 2]}", "generator.voxels: "),
        ("generator: {field_of_view: {voxel_mm: [1]}}", "generator.field_of_view.voxel_mm"),
        ("generator: {contrasts: {t1w: 0.5}}", "generator.contrasts.t1w: "),
    ],
)
def test_wrong_field_is_named(tmp_path: Path, addition: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        _read(tmp_path, GOOD + addition)
    assert caught.value.exit_code == 2
    assert str(tmp_path / "config.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: tiny\n", "", "name: Field required"),
        ("steps: 5", "steps: -1", r"levels\.1\.steps"),
        ("steps: 5", "steps: 0", r"levels\.1\.steps: 0 keeps the level of a starting model"),
        ("steps: 5", "seconds: 5, steps: 2", r"levels\.1: give either steps or seconds"),
        ("exponent: 1,", "exponent: 0,", r"levels: exponents must fall by one.* got \[2, 0\]"),
        ("channels: [4, 8], steps", "channels: [4, 8], sided: false, steps", r"levels\.0\.sided: the coarsest"),
        ("train: [a, b]", "train: [a, c]", "validate: c is trained on"),
        ("train: [a, b]", "train: []", "train: name the label maps"),
        ("channels: [4, 8]", "channels: []", r"levels\.0\.channels: a level of the ladder needs"),
        ("validate: [c]", "validate: 7", "validate: "),
    ],
)
def test_missing_or_wrong_level_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("- a\n- b", "not a mapping"), ("", "not a mapping")]
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, text)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_generator_settings_reach_the_generator(tmp_path: Path) -> None:
    fields = "generator: {field_of_view: {voxel_mm: [0.5, 0.9]}, contrasts: {t1w_share: 1.0}}"
    settings = _read(tmp_path, GOOD + fields).generator
    assert settings.field_of_view.voxel_mm == (0.5, 0.9)
    assert settings.contrasts == Contrasts(t1w_share=1.0)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_of_the_project_are_valid(path: Path) -> None:
    config = read_config(path)
    exponents = [level.exponent for level in config.levels]
    assert exponents == list(range(exponents[0], exponents[0] - len(exponents), -1))
    assert not set(config.train) & set(config.validate_on)


def test_level_that_tells_sides_below_one_that_does_not_is_refused(tmp_path: Path) -> None:
    text = GOOD + "  - {exponent: 0, channels: [4], steps: 5, sided: true}\n"
    with pytest.raises(UsageError, match=r"levels\.2\.sided: a level that tells sides cannot follow"):
        _read(tmp_path, text)


def test_arithmetic_is_what_the_device_is_fast_in_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda has=has: has)
        assert _read(tmp_path, GOOD + "device: cpu").autocasts is has
        assert _read(tmp_path, GOOD + "device: cpu\nbfloat16: true").autocasts
        assert not _read(tmp_path, GOOD + "device: cpu\nbfloat16: false").autocasts


def test_another_arithmetic_is_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _read(tmp_path, GOOD + "device: cpu")
    found = []
    for has in (True, False):
        monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda has=has: has)
        found.append(essence(config, 1, 1))
    assert differences(*found) == ["bfloat16: was True, is False"]
