import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lodbrain.inference import brain_search
from lodbrain.inference.predict import Options, predict
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder, LevelConfig


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Ladder:
    monkeypatch.setattr(brain_search, "LEAST_ML", 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Ladder((LevelConfig(2, (4, 8)), LevelConfig(1, (4,)))).eval()
        torch.nn.init.normal_(network.level(0).head.weight)
    return network


CARD = Card("tiny", "lod", "structures", {}, "", "", "", "", "", "", 0)
DATA = gaussian_filter(np.random.default_rng(0).standard_normal((24, 20, 22)), 1.5).astype(np.float32)


def test_scan_comes_back_on_its_own_grid(network: Ladder) -> None:
    found = predict(DATA, (2.0, 2.0, 2.0), card=CARD, network=network)
    assert found.classes.shape == DATA.shape
    assert found.classes.dtype == np.uint8
    assert found.classes.any()
    assert found.soft_volume_vox.shape == (33,)
    assert found.posteriors is None
    assert set(found.quality) == {"coarse_brain_ml", "moved_share"}
    assert found.certainty is not None
    assert (found.certainty.shape, found.certainty.dtype) == (DATA.shape, np.uint8)


def test_posteriors_come_if_asked_for(network: Ladder) -> None:
    found = predict(DATA, (2.0, 2.0, 2.0), card=CARD, network=network, options=Options(posteriors=True))
    assert found.posteriors is not None
    assert found.posteriors.shape == (33, *DATA.shape)
    assert found.posteriors.dtype == np.float16


def test_any_three_numbers_are_a_voxel_size(network: Ladder) -> None:
    listed = predict(DATA, np.array([2, 2, 2]), card=CARD, network=network)  # type: ignore[arg-type]
    np.testing.assert_array_equal(listed.classes, predict(DATA, (2.0, 2.0, 2.0), card=CARD, network=network).classes)


def test_array_in_any_memory_order_gives_the_same(network: Ladder) -> None:
    turned = np.asfortranarray(DATA)
    np.testing.assert_array_equal(
        predict(turned, (2.0, 2.0, 2.0), card=CARD, network=network).classes,
        predict(DATA, (2.0, 2.0, 2.0), card=CARD, network=network).classes,
    )
