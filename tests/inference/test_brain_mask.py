"""Log odds of brain, masks of them, and borders in mm."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from lodbrain.errors import InputError
from lodbrain.inference import brain_mask as module
from lodbrain.inference import brain_search
from lodbrain.inference.brain_mask import BrainOdds, brain_odds, moved, solid
from lodbrain.inference.brain_search import locate, network_input, prepare
from lodbrain.inference.prediction import Options
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.tiled_levels import refine
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.models.folded import fold
from lodbrain.models.lod import Ladder, LevelConfig, LevelOutput

CONFIGS = (LevelConfig(2, (4, 8, 8)), LevelConfig(1, (4, 8), False), LevelConfig(0, (4, 8), False))


@pytest.fixture(scope="module")
def network() -> Ladder:
    """Random: its heads and what it is told by the level above, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Ladder(CONFIGS).eval()
        for position in range(3):
            torch.nn.init.normal_(network.level(position).head.weight, std=0.5)
    return network


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return gaussian_filter(np.random.default_rng(1).standard_normal((61, 70, 55)), 2).astype(np.float32)


@pytest.fixture
def any_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small or large, it is a brain."""
    monkeypatch.setattr(brain_search, "LEAST_ML", 0.0)
    monkeypatch.setattr(brain_search, "PLAUSIBLE_ML", (0.0, 0.0))  # the whole volume, so that all can be compared


@pytest.mark.usefixtures("any_brain")
@pytest.mark.parametrize("side_mm", [1.0, 0.7, 2.0])
def test_odds_are_those_of_the_level_that_the_finest_is_conditioned_on(
    side_mm: float, data: np.ndarray, network: Ladder
) -> None:
    spacing = (side_mm, side_mm, side_mm)
    options = Options(dtype="float32")
    odds = brain_odds(network_input(data, spacing, network), network=network, options=options)
    assert odds.grid.spacing_mm == pytest.approx([2 * side_mm if side_mm < 2 else 2.0] * 3)

    given = network_input(data, spacing, network)
    last = network.level_for(given.grid.voxel_mm)
    run = prepare(given, fold(network, torch.float32, last=last), options)
    run, stage, *_ = locate(run)
    with torch.inference_mode():
        p = refine(run, 1, stage, odds.box).output.logits[0].softmax(0)
    assert len(p) == len(SIDELESS)
    brain_classes = sorted(set(SIDELESS_OF_CLASS[TISSUE_OF_CLASS > 0].tolist()))
    np.testing.assert_allclose(odds.odds[0].sigmoid(), p[brain_classes].sum(0), atol=2e-5)
    with_csf = [*brain_classes, SIDELESS.index("CSF")]
    np.testing.assert_allclose(odds.odds[1].sigmoid(), p[with_csf].sum(0), atol=2e-5)


@pytest.mark.usefixtures("any_brain")
def test_tiles_change_nothing(data: np.ndarray, network: Ladder) -> None:
    given = network_input(data, (1.0, 1.0, 1.0), network)
    whole, tiled = (
        brain_odds(given, network=network, options=Options(dtype="float32", tile_voxels=voxels))
        for voxels in (None, 30_000)
    )
    np.testing.assert_allclose(tiled.odds, whole.odds, atol=1e-4)


def test_without_a_brain_it_is_an_error(data: np.ndarray, network: Ladder) -> None:
    with pytest.raises(InputError, match="no brain found in it"):
        brain_odds(network_input(data, (0.2, 0.2, 0.2), network), network=network)


def test_memory_that_is_too_small_is_refused_before_any_work(
    data: np.ndarray, network: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "prepare", lambda *args, **options: pytest.fail("it was begun"))
    given = network_input(data, (1.0, 1.0, 1.0), network)
    with pytest.raises(InputError, match="Give --memory"):
        brain_odds(given, network=network, options=Options(memory_bytes=1_000_000))


def ball(scan: WorkingGrid, level: WorkingGrid, radius_mm: float) -> BrainOdds:
    """Log odds that rise by 1 a mm towards the middle of the volume, and are 0 at the radius."""
    centre = np.array(scan.shape) * scan.spacing_mm / 2
    at = np.meshgrid(
        *((np.arange(n) + 0.5) * v for n, v in zip(level.shape, level.spacing_mm, strict=True)), indexing="ij"
    )
    distance = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(at, centre, strict=True)))
    odds = torch.from_numpy(radius_mm - distance).float()
    box = tuple((0, n) for n in level.shape)
    return BrainOdds(torch.stack([odds, odds + 3]), box, scan, level)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.8, 0.9), (1.0, 1.0, 4.0)])
def test_mask_has_its_surface_where_the_posterior_crosses_the_threshold(spacing: tuple[float, float, float]) -> None:
    scan = WorkingGrid(tuple(round(96 / v) for v in spacing), spacing, True)
    odds = ball(scan, WorkingGrid((48, 48, 48), (2.0, 2.0, 2.0), False), 30.0)
    voxel = np.prod(spacing)
    for threshold, csf, radius in ((0.5, False, 30.0), (1 / (1 + np.e**5), False, 35.0), (0.5, True, 33.0)):
        volume = odds.above(threshold, csf=csf).sum() * voxel
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)


def test_without_csf_a_mask_is_a_part_of_that_with_csf_with_a_threshold_of_its_own() -> None:
    grid = WorkingGrid((4, 4, 4), (2.0, 2.0, 2.0), True)
    odds = torch.full((2, 4, 4, 4), -9.0)
    for x, (brain, with_csf) in enumerate(((2.0, 3.0), (-2.5, 3.0), (-2.5, -2.0), (-6.0, 3.0))):
        odds[0, x], odds[1, x] = brain, with_csf
    found = BrainOdds(odds, ((0, 4), (0, 4), (0, 4)), grid, grid)
    assert found.mask(csf=True)[:, 0, 0].tolist() == [True, True, False, True]
    assert found.mask(csf=False)[:, 0, 0].tolist() == [True, True, False, False]


def test_outside_of_the_box_nothing_is_brain() -> None:
    scan = WorkingGrid((16, 16, 16), (1.0, 1.0, 1.0), True)
    level = WorkingGrid((8, 8, 8), (2.0, 2.0, 2.0), False)
    odds = BrainOdds(torch.full((2, 3, 3, 3), 9.0), ((2, 5), (2, 5), (2, 5)), scan, level)
    inside = np.argwhere(odds.above())
    assert inside.min() >= 4
    assert inside.max() < 10
    padded = BrainOdds(torch.full((2, 10, 9, 8), 9.0), ((-1, 9), (0, 9), (0, 8)), scan, level)
    assert padded.above().all()
    thin = BrainOdds(torch.full((2, 1, 8, 8), 9.0), ((3, 4), (0, 8), (0, 8)), scan, level)
    assert not thin.above().any()


def test_odds_of_classes_with_and_without_sides_are_equal() -> None:
    logits = torch.randn(1, 33, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    from lodbrain.models.lod import merge_sides

    sideless, side = merge_sides(logits)
    sided = module._odds(LevelOutput(logits, logits))
    torch.testing.assert_close(module._odds(LevelOutput(sideless, sideless, side)), sided)
    assert (sided[1] > sided[0]).all()


def test_solid_keeps_the_largest_piece_and_fills_its_holes() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[0:8, 0:8, 0:8] = True  # reaches the corner of the volume
    mask[2:4, 2:4, 2:4] = False
    mask[8, 8, 8] = True  # touches at a corner only
    mask[12:16, 12:16, 12:16] = True
    expected = np.zeros_like(mask)
    expected[0:8, 0:8, 0:8] = True
    np.testing.assert_array_equal(solid(mask), expected)
    assert not solid(np.zeros((3, 3, 3), bool)).any()
    open_hole = expected.copy()
    open_hole[2:4, 2:4, 0:4] = False  # the edge of the volume is outside
    np.testing.assert_array_equal(solid(open_hole), open_hole)


@pytest.mark.parametrize("border_mm", [0.9, 2.5, 7.0, -1.5, -4.0])
@pytest.mark.parametrize("slab", [None, 300])
def test_border_is_as_wide_along_each_axis(border_mm: float, slab: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if slab is not None:
        monkeypatch.setattr(module, "_SLAB_VOXELS", slab)
    spacing = (0.8, 1.0, 3.0)
    x, y, z = np.meshgrid(
        *((np.arange(n) - n // 2) * v for n, v in zip((50, 40, 16), spacing, strict=True)), indexing="ij"
    )
    mask = (x**2 + y**2 + z**2 < 15**2) | ((abs(x) < 2) & (abs(y) < 2))  # a stalk to both edges of the volume
    inside, outside = distance_transform_edt(mask, sampling=spacing), distance_transform_edt(~mask, sampling=spacing)
    expected = outside <= border_mm if border_mm > 0 else inside > -border_mm
    np.testing.assert_array_equal(moved(mask, spacing, border_mm), expected)


def test_border_of_nothing_and_of_everything_is_nothing_and_everything() -> None:
    nothing, everything = np.zeros((5, 5, 5), bool), np.ones((5, 5, 5), bool)
    for border_mm in (-2.0, 0.0, 2.0):
        assert not moved(nothing, (1.0, 1.0, 1.0), border_mm).any()
        assert moved(everything, (1.0, 1.0, 1.0), border_mm).all()
