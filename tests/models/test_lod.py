import pytest
import torch

from lodbrain.labels import MIRROR_OF_CLASS, N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.models.blocks import double
from lodbrain.models.lod import Ladder, Level, LevelConfig, LevelOutput, merge_sides, split_sides

CONFIGS = (LevelConfig(2, (4, 8, 8)), LevelConfig(1, (4, 8)), LevelConfig(0, (4, 8), sided=False))


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def ladder() -> Ladder:
    """Untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ladder(CONFIGS).eval()


def test_merging_undoes_splitting() -> None:
    sideless = _random(2, 19, 3, 4, 5).log_softmax(1)
    side = 3 * _random(2, 1, 3, 4, 5, seed=1)
    back, back_side = merge_sides(split_sides(sideless, side))
    torch.testing.assert_close(back, sideless, atol=1e-5, rtol=0)
    torch.testing.assert_close(back_side, side, atol=1e-4, rtol=0)


def test_splitting_undoes_merging_where_all_structures_agree_on_the_side() -> None:
    log_p = split_sides(_random(1, 19, 2, 2, 2).log_softmax(1), torch.full((1, 1, 2, 2, 2), 1.5))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(1, 2, 2, 2))
    torch.testing.assert_close(split_sides(*merge_sides(log_p)), log_p, atol=1e-5, rtol=0)


def test_merging_adds_posteriors_of_both_sides() -> None:
    logits = _random(1, 33, 2, 2, 2)
    p, merged = logits.softmax(1), merge_sides(logits)[0].softmax(1)
    expected = torch.zeros(1, 19, 2, 2, 2).index_add(1, torch.as_tensor(SIDELESS_OF_CLASS), p)
    torch.testing.assert_close(merged, expected)


def test_side_is_that_of_the_posteriors() -> None:
    logits = _random(1, 33, 2, 2, 2)
    left = [c for c, label in enumerate(STRUCTURES) if label.side == "left"]
    p = logits.softmax(1)
    odds = p[:, left].sum(1) / p[:, MIRROR_OF_CLASS[left]].sum(1)
    torch.testing.assert_close(merge_sides(logits)[1][:, 0], odds.log(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        LevelConfig(0, (4,)),
        LevelConfig(0, (4, 8)),
        LevelConfig(0, (4, 8, 8)),
        LevelConfig(0, (4, 8), residuals=2),
        LevelConfig(0, (4,), block=2),
        LevelConfig(0, (4, 4), block=2, residuals=2),
    ],
)
def test_radius_bounds_the_receptive_field(config: LevelConfig) -> None:
    torch.manual_seed(0)
    level = Level(config).double().eval()
    assert level.radius % level.stride == 0
    n = 2 * level.radius + 2 * level.stride
    reached = 0
    for axis in range(3):
        shape = [max(4, level.stride)] * 3
        shape[axis] = n
        image = _random(1, 1, *shape).double()
        voxel = torch.zeros(1).double()
        with torch.no_grad():
            before = level(image, voxel)
            for place in range(level.radius, level.radius + level.stride):
                at = [2, 2, 2]
                at[axis] = place
                changed = image.clone()
                changed[(0, 0, *at)] += 10.0
                after = level(changed, voxel)
                assert after.features.shape[2:] == after.logits.shape[2:]
                difference = (after.logits - before.logits).abs().sum((0, 1)) + (
                    after.features - before.features
                ).abs().sum((0, 1))
                where = difference.nonzero()[:, axis] - place
                reached = max(reached, int(where.abs().max()))
    assert reached <= level.radius
    assert reached > level.radius - 2 * level.stride  # no wider than it has to be


@pytest.mark.parametrize("position", [1, 2])
def test_untrained_level_begins_with_the_coarse_answer(ladder: Ladder, position: int) -> None:
    level = ladder.level(position)
    coarse = LevelOutput(_random(1, 4, 4, 6, 5), _random(1, N_CLASSES, 4, 6, 5, seed=1))
    with torch.no_grad():
        output = level(_random(1, 1, 8, 12, 10), torch.zeros(1), coarse)
    if position == 1:
        assert output.side is None
        assert torch.equal(output.logits, double(coarse.logits, (8, 12, 10)))
    else:
        sideless, side = merge_sides(coarse.logits)
        assert torch.equal(output.logits, double(sideless, (8, 12, 10)))
        assert torch.equal(output.side, double(side, (8, 12, 10)))


def test_finer_level_listens_to_the_coarse_features(ladder: Ladder) -> None:
    level = ladder.level(1)
    image, logits = _random(1, 1, 8, 8, 8), _random(1, N_CLASSES, 4, 4, 4)
    with torch.no_grad():
        one, two = (level(image, torch.zeros(1), LevelOutput(_random(1, 4, 4, 4, 4, seed=s), logits)) for s in (1, 2))
    assert not torch.equal(one.features, two.features)


def test_level_is_told_the_voxel_size(ladder: Ladder) -> None:
    level, image = ladder.level(0), _random(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert not torch.equal(level(image, torch.tensor([0.0])).features, level(image, torch.tensor([0.4])).features)


def test_each_scan_of_a_batch_is_on_its_own(ladder: Ladder) -> None:
    level, images = ladder.level(0), _random(2, 1, 8, 12, 8)
    voxels = torch.tensor([0.1, -0.2])
    with torch.no_grad():
        both = level(images, voxels).logits
        one = level(images[1:], voxels[1:]).logits
    torch.testing.assert_close(both[1:], one, atol=1e-5, rtol=0)


def test_levels_have_the_classes_and_features_they_promise(ladder: Ladder) -> None:
    coarse = None
    n = 4
    with torch.no_grad():
        for position, config in enumerate(CONFIGS):
            coarse = ladder.level(position)(_random(1, 1, n, n, n), torch.zeros(1), coarse)
            assert coarse.features.shape == (1, config.channels[0], n, n, n)
            n *= 2
    assert coarse is not None
    assert coarse.logits.shape[1] == len(SIDELESS)
    assert coarse.side is not None


@pytest.mark.parametrize(
    ("voxel_mm", "position"), [(9.0, 0), (4.0, 0), (2.9, 0), (2.8, 1), (2.0, 1), (1.4, 2), (1.0, 2), (0.5, 2)]
)
def test_voxel_size_decides_where_the_ladder_ends(ladder: Ladder, voxel_mm: float, position: int) -> None:
    assert ladder.level_for(voxel_mm) == position


def test_ladder_is_rebuilt_from_its_card(ladder: Ladder) -> None:
    rows = [{"exponent": c.exponent, "channels": list(c.channels), "sided": c.sided} for c in CONFIGS]
    again = Ladder.from_config({"levels": rows})
    assert again.configs == CONFIGS
    again.load_state_dict(ladder.state_dict())
    assert Ladder.from_config({"levels": [{"exponent": 0, "channels": [4]}]}).configs == (LevelConfig(0, (4,)),)


@pytest.mark.parametrize("exponents", [(), (0, 1), (2, 0), (1, 1)])
def test_levels_in_another_order_are_refused(exponents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from coarse to fine in steps of one"):
        Ladder(tuple(LevelConfig(e, (4,)) for e in exponents))


def test_map_leaves_an_absent_side_absent() -> None:
    output = LevelOutput(torch.ones(1), torch.ones(2))
    assert output.map(lambda t: t * 2).side is None
    assert output.map(lambda t: t * 2).logits.tolist() == [2, 2]
    assert LevelOutput(torch.ones(1), torch.ones(2), torch.ones(3)).map(lambda t: t + 1).side.tolist() == [2, 2, 2]


@pytest.mark.parametrize("channels", [(4,), (4, 8)])
def test_untrained_level_of_blocks_begins_with_the_coarse_answer(channels: tuple[int, ...]) -> None:
    ladder = Ladder((LevelConfig(1, (4,)), LevelConfig(0, channels, sided=False, block=2))).eval()
    coarse = LevelOutput(_random(1, 4, 4, 6, 4), _random(1, N_CLASSES, 4, 6, 4, seed=1))
    with torch.no_grad():
        output = ladder.level(1)(_random(1, 1, 8, 12, 8), torch.zeros(1), coarse)
    sideless, side = merge_sides(coarse.logits)
    assert torch.equal(output.logits, double(sideless, (8, 12, 8)))
    assert torch.equal(output.side, double(side, (8, 12, 8)))


def test_level_of_blocks_is_rebuilt_from_its_card_and_others_keep_theirs() -> None:
    config = LevelConfig(0, (4, 8), False, block=2, residuals=3)
    assert LevelConfig.from_row(config.to_row()) == config
    assert LevelConfig(0, (4, 8), False).to_row() == {"exponent": 0, "channels": [4, 8], "sided": False}


def test_blocks_are_for_the_finest_level_only() -> None:
    with pytest.raises(ValueError, match="only the finest of several levels can work on blocks"):
        Ladder((LevelConfig(1, (4,), block=2), LevelConfig(0, (4,))))
    with pytest.raises(ValueError, match="block must be 1 or 2, got 3"):
        LevelConfig(0, (4,), block=3)
    with pytest.raises(ValueError, match="residuals must be at least 1, got 0"):
        LevelConfig(0, (4,), residuals=0)
