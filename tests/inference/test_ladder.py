"""The whole ladder, on noise that is smooth enough to have structure, with random weights."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lodbrain.errors import InputError
from lodbrain.inference import brain_search
from lodbrain.inference import ladder as module
from lodbrain.inference.brain_search import network_input
from lodbrain.inference.calibration import Calibration
from lodbrain.inference.ladder import run_ladder
from lodbrain.inference.prediction import Options, Prediction
from lodbrain.labels import STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.lod import Ladder, LevelConfig

CONFIGS = (LevelConfig(2, (4, 8, 8)), LevelConfig(1, (4, 8)), LevelConfig(0, (4, 8), False))
Spacing = tuple[float, float, float]
SPACINGS: list[Spacing] = [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.8, 0.8, 1.6), (2.0, 2.0, 2.0), (4.0, 4.0, 4.0)]
NAMES = ["native", "finer than the model", "anisotropic", "2 mm", "4 mm"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Volumes this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Ladder:
    """Random: its heads and what it is told by the level above, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Ladder(CONFIGS).eval()
        for position in range(3):
            level = network.level(position)
            torch.nn.init.normal_(level.head.weight, std=0.5)
            if level.context is not None:
                torch.nn.init.normal_(level.context.weight, std=0.3)
    return network


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((61, 70, 55))
    return gaussian_filter(noise, 2).astype(np.float32)


@pytest.fixture
def any_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small or large, it is a brain."""
    monkeypatch.setattr(brain_search, "LEAST_ML", 0.0)
    monkeypatch.setattr(brain_search, "PLAUSIBLE_ML", (0.0, float("inf")))


def _run(data: np.ndarray, spacing: Spacing, network: Ladder, **options) -> Prediction:
    return run_ladder(
        network_input(data, spacing, network),
        network=network,
        options=Options(dtype="float32", **options),
        progress=lambda share, text: None,
    )


@pytest.mark.parametrize("spacing", SPACINGS, ids=NAMES)
@pytest.mark.usefixtures("any_brain")
def test_tiled_and_untiled_agree(spacing: Spacing, data: np.ndarray, network: Ladder) -> None:
    if spacing == (0.8, 0.8, 1.6):  # most voxels of all, on the working grid
        data = data[:45, :50, :41]
    whole = _run(data, spacing, network)
    tiled = _run(data, spacing, network, tile_voxels=80_000)
    assert whole.classes.shape == data.shape
    assert len(np.unique(whole.classes)) > 10
    assert (whole.classes != tiled.classes).mean() <= 1e-5
    np.testing.assert_allclose(tiled.soft_volume_vox, whole.soft_volume_vox, rtol=1e-4)
    assert tiled.notes == whole.notes


@pytest.mark.parametrize("spacing", [SPACINGS[0], SPACINGS[2]], ids=[NAMES[0], NAMES[2]])
@pytest.mark.usefixtures("any_brain")
def test_posteriors_agree_with_labels_and_soft_volumes(spacing: Spacing, data: np.ndarray, network: Ladder) -> None:
    found = _run(data[:41, :44, :36], spacing, network, posteriors=True, postprocess=False)
    assert found.posteriors is not None
    p = found.posteriors.astype(np.float32)
    np.testing.assert_allclose(p.sum(0), 1, atol=2e-3)
    np.testing.assert_allclose(found.soft_volume_vox[1:], p[1:].sum((1, 2, 3), dtype=np.float64), rtol=2e-3, atol=0.5)
    # The structure is decided before its side, so that only sides can make another class larger.
    chosen = np.take_along_axis(p, found.classes[None].astype(int), 0)[0]
    assert (chosen >= p.max(0) - 1e-3).mean() > 0.7


@pytest.mark.usefixtures("any_brain")
def test_box_around_the_brain_does_not_change_its_labels(
    data: np.ndarray, network: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(data, (1.0, 1.0, 1.0), network, postprocess=False)
    monkeypatch.setattr(brain_search, "_box_of", lambda brain: ((4, 8), (8, 10), (5, 9)))
    boxed = _run(data, (1.0, 1.0, 1.0), network, postprocess=False)
    brain = (slice(16, 32), slice(32, 40), slice(20, 36))
    assert (boxed.classes[brain] != whole.classes[brain]).mean() <= 1e-4
    margin = (slice(4, 44), slice(20, 52), slice(8, 48))
    assert len(np.unique(boxed.classes[margin])) > 5
    outside = np.ones(data.shape, bool)
    outside[margin] = False
    assert not boxed.classes[outside].any()
    assert whole.classes[outside].any()


def test_scan_without_a_brain_is_refused(data: np.ndarray, network: Ladder) -> None:
    with pytest.raises(InputError, match="no brain found") as caught:
        _run(data[:24, :24, :24], (1.0, 1.0, 1.0), network)
    assert caught.value.code == "no-brain"


def test_implausible_brain_is_noted_and_the_whole_volume_used(
    data: np.ndarray, network: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = []
    real = module.boxes_around

    def spy(box, *rest):
        boxes.append(box)
        return real(box, *rest)

    monkeypatch.setattr(module, "boxes_around", spy)
    found = _run(data, (2.0, 2.0, 2.0), network)  # some 1900 ml
    assert found.notes == ()
    found = _run(data, (4.0, 4.0, 4.0), network)
    assert len(found.notes) == 1
    assert "implausible" in found.notes[0]
    monkeypatch.setattr(brain_search, "PLAUSIBLE_ML", (0.0, 1.0))
    boxes.clear()
    _run(data, (2.0, 2.0, 2.0), network)
    assert boxes == [((0, 31), (0, 35), (0, 28))]


@pytest.mark.usefixtures("any_brain")
def test_quality_says_what_was_found_and_moved(data: np.ndarray, network: Ladder) -> None:
    raw = _run(data, (2.0, 2.0, 2.0), network, postprocess=False)
    tidy = _run(data, (2.0, 2.0, 2.0), network)
    assert raw.quality["moved_share"] == 0
    moved = (raw.classes != tidy.classes).sum()
    brain = (TISSUE_OF_CLASS[tidy.classes] > 0).sum()
    assert moved > 0
    assert tidy.quality["moved_share"] == pytest.approx(moved / brain, abs=1e-5)


@pytest.mark.usefixtures("any_brain")
def test_progress_goes_up(data: np.ndarray, network: Ladder) -> None:
    seen: list[tuple[float, str]] = []
    run_ladder(
        network_input(data[:45, :50, :41], (1.0, 1.0, 1.0), network),
        network=network,
        options=Options(dtype="float32", tile_voxels=80_000),
        progress=lambda share, text: seen.append((share, text)),
    )
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert seen[0] == (0.0, "finding the brain")
    assert "level 3 of 3" in {text for _, text in seen}
    assert shares[-1] <= 1


@pytest.mark.usefixtures("any_brain")
def test_gain_of_the_scanner_does_not_matter(data: np.ndarray, network: Ladder) -> None:
    part = data[:45, :50, :41]
    one, two = (_run(d, (2.0, 2.0, 2.0), network).classes for d in (part, part * 1000))
    assert (one != two).mean() < 1e-3


@pytest.mark.usefixtures("any_brain")
def test_finest_level_alone_does_not_hear_the_coarser_ones(data: np.ndarray, network: Ladder) -> None:
    part = data[:40, :40, :32]
    alone = _run(part, (1.0, 1.0, 1.0), network, context=False, postprocess=False)  # islands may change sides
    changed = Ladder(CONFIGS).eval()
    changed.load_state_dict(network.state_dict())
    for position in (0, 1):
        torch.nn.init.zeros_(changed.level(position).head.weight)
    np.testing.assert_array_equal(
        _run(part, (1.0, 1.0, 1.0), changed, context=False, postprocess=False).classes, alone.classes
    )
    assert (_run(part, (1.0, 1.0, 1.0), network).classes != alone.classes).any()
    assert alone.classes.any()
    untidied = _run(part, (1.0, 1.0, 1.0), network, context=False, postprocess=False)
    sides = {STRUCTURES[c].side for c in np.unique(untidied.classes)}
    assert "left" not in sides


@pytest.mark.usefixtures("any_brain")
def test_certainty_does_not_depend_on_tiles(data: np.ndarray, network: Ladder) -> None:
    whole = _run(data[:45, :50, :41], (1.0, 1.0, 1.0), network)
    tiled = _run(data[:45, :50, :41], (1.0, 1.0, 1.0), network, tile_voxels=80_000)
    assert whole.certainty is not None
    assert tiled.certainty is not None
    assert np.abs(whole.certainty.astype(int) - tiled.certainty).max() <= 1
    assert len(np.unique(whole.certainty)) > 50


@pytest.mark.usefixtures("any_brain")
def test_temperature_is_that_of_the_last_level_and_moves_no_label(data: np.ndarray, network: Ladder) -> None:
    data = data[:45, :50, :41]
    plain = _run(data, (1.0, 1.0, 1.0), network, postprocess=False)
    warm = run_ladder(
        network_input(data, (1.0, 1.0, 1.0), network),
        network=network,
        calibrations={network.configs[-1].exponent: Calibration(temperature=2.0), 7: Calibration(temperature=9.0)},
        options=Options(dtype="float32", postprocess=False),
        progress=lambda share, text: None,
    )
    assert warm.calibration.temperature == 2.0
    assert (warm.classes != plain.classes).mean() < 1e-3  # posteriors that agree to 2^-17 are a draw
    assert plain.certainty is not None
    assert warm.certainty is not None
    assert (warm.certainty <= plain.certainty).all()
    assert warm.certainty.mean() < 0.9 * plain.certainty.mean()
