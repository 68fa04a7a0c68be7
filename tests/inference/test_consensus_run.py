"""The whole consensus, on smooth noise with random weights: what is said of it, and when the second is left out."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lodbrain.inference import brain_search, ladder
from lodbrain.inference import lod_brain_2024_volume as lod_brain
from lodbrain.inference import second_opinion as consensus
from lodbrain.inference.brain_search import network_input
from lodbrain.inference.calibration import Calibration
from lodbrain.inference.ladder import run_ladder
from lodbrain.inference.prediction import Options, Prediction
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS
from lodbrain.models.consensus import Consensus
from lodbrain.models.lod import Ladder, LevelConfig
from lodbrain.models.lod_brain_2024 import LodBrain2024


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any brain is a brain, LOD-Brain's grid is no larger than the scan, one thread."""
    monkeypatch.setattr(brain_search, "LEAST_ML", 0.0)
    monkeypatch.setattr(brain_search, "PLAUSIBLE_ML", (0.0, float("inf")))
    monkeypatch.setattr(lod_brain, "SIDE", 8)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Consensus:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = Ladder((LevelConfig(2, (4, 8)), LevelConfig(1, (4, 8)), LevelConfig(0, (4, 8), False))).eval()
        for position in range(3):
            torch.nn.init.normal_(first.level(position).head.weight, std=0.5)
        return Consensus(first, LodBrain2024().eval(), 0.5).eval()


def _run(
    network: Consensus,
    spacing: tuple[float, float, float],
    *,
    alone: bool = False,
    mixed: dict[int, Calibration] | None = None,
) -> Prediction:
    data = gaussian_filter(np.random.default_rng(1).standard_normal((45, 50, 38)), 2).astype(np.float32)
    return run_ladder(
        network_input(data, spacing, network),
        network=network.ladder,
        options=Options(dtype="float32", posteriors=True),
        progress=lambda share, text: None,
        consensus=None if alone else network,
        calibrations={0: Calibration(1.5)},
        mixed_calibrations=mixed,
    )


def _without_sides(posteriors: np.ndarray) -> np.ndarray:
    out = np.zeros((len(SIDELESS), *posteriors.shape[1:]))
    np.add.at(out, SIDELESS_OF_CLASS, posteriors.astype(np.float64))
    return out


def test_calibration_of_the_mean_is_used_where_there_is_a_mean(
    network: Consensus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consensus, "NO_AGREEMENT", -1.0)
    monkeypatch.setattr(consensus, "FULL_AGREEMENT", 0.0)
    mixed = {0: Calibration(2.0, 0.8)}
    plain, tempered = (_run(network, (1.0, 1.0, 1.0), mixed=one) for one in (None, mixed))
    assert (plain.calibration.temperature, tempered.calibration) == (1.0, mixed[0])
    assert (plain.classes == tempered.classes).mean() > 0.999
    assert plain.posteriors is not None and tempered.posteriors is not None
    p, q = (_without_sides(one.posteriors) for one in (plain, tempered))
    np.testing.assert_allclose(np.sqrt(p) / np.sqrt(p).sum(0), q, atol=0.02)
    coarse = _run(network, (3.0, 3.0, 3.0), mixed=mixed)  # LOD-Brain is not asked
    assert coarse.calibration == Calibration()


def test_second_member_moves_the_tissues_and_is_recorded(network: Consensus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "NO_AGREEMENT", -1.0)
    monkeypatch.setattr(consensus, "FULL_AGREEMENT", 0.0)
    both, alone = _run(network, (1.0, 1.0, 1.0)), _run(network, (1.0, 1.0, 1.0), alone=True)
    assert both.quality["second_weight"] == 0.5
    assert 0 < both.quality["disagreement"] <= 1
    assert (both.classes != alone.classes).mean() > 0.05
    assert not {"agreement", "disagreement", "second_weight"} & set(alone.quality)
    assert not any("LOD-Brain" in note for note in both.notes)


def test_members_that_do_not_agree_leave_the_ladders_result(network: Consensus) -> None:
    both, alone = _run(network, (1.0, 1.0, 1.0)), _run(network, (1.0, 1.0, 1.0), alone=True)
    assert both.quality["agreement"] < consensus.NO_AGREEMENT  # random weights
    assert both.quality["second_weight"] == 0
    np.testing.assert_array_equal(both.classes, alone.classes)
    assert any(note.startswith("LOD-Brain was left out") for note in both.notes)


@pytest.mark.parametrize("side_mm", [0.7, 2.0, 4.0])
def test_scan_far_from_1_mm_is_the_ladders_and_says_so(
    network: Consensus, side_mm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "second_opinion", lambda *args: pytest.fail("LOD-Brain was asked"))
    sides = (side_mm, side_mm, side_mm)
    both, alone = _run(network, sides), _run(network, sides, alone=True)
    np.testing.assert_array_equal(both.classes, alone.classes)
    assert any("LOD-Brain was not used" in note for note in both.notes)
    assert "disagreement" not in both.quality


def test_resampled_scan_gets_a_second_opinion_on_its_own_grid(
    network: Consensus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consensus, "NO_AGREEMENT", -1.0)
    monkeypatch.setattr(consensus, "FULL_AGREEMENT", 0.0)
    found = _run(network, (1.0, 1.3, 1.3))
    assert found.classes.shape == (45, 50, 38)
    assert found.quality["second_weight"] == 0.5
    assert found.posteriors is not None
    np.testing.assert_allclose(found.posteriors.astype(np.float32).sum(0), 1, atol=0.01)
