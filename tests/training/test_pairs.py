import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count, islice

import pytest
import torch

from lodbrain.labels import N_CLASSES
from lodbrain.models.lod import Ladder, LevelOutput
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import render
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.pairs import (
    PairSource,
    TrainingPair,
    brain_of,
    collate,
    crop_below,
    first_pair,
    prefetch,
    run_folded,
)
from lodbrain.training.samples import SyntheticSamples, foci_of, log_voxel_of
from lodbrain.training.sources import geometry_of
from lodbrain.training.stage_networks import build_ladder

MakeConfig = Callable[..., TrainingConfig]


def make_source(
    ladder: Ladder, position: int, config: TrainingConfig, head: LabelMap, *, training: bool, crops: int = 1
) -> PairSource:
    maps = {"head": head}
    samples = SyntheticSamples(["head"], maps, maps, config.generator, geometry_of(config, ladder))
    corruption = config.corruption if training else None
    return PairSource(ladder, position, samples, corruption, bfloat16=config.autocasts, crops=crops)


@pytest.fixture
def sources(make_config: MakeConfig, head: LabelMap) -> list[PairSource]:
    """Of both levels, over an untrained ladder that sees brain."""
    config = make_config()
    ladder = build_ladder(config).eval()
    return [make_source(ladder, position, config, head, training=True) for position in (0, 1)]


def _tensors(pair: TrainingPair) -> list[torch.Tensor]:
    coarse = [] if pair.coarse is None else [pair.coarse.features, pair.coarse.logits]
    return [pair.image, pair.target, pair.log_voxel, *coarse]


def _same(one: TrainingPair, two: TrainingPair) -> bool:
    return all(torch.equal(a, b) for a, b in zip(_tensors(one), _tensors(two), strict=True))


@pytest.mark.parametrize("position", [0, 1])
def test_same_seed_same_pair_in_any_order(sources: list[PairSource], position: int) -> None:
    source = sources[position]
    there = [source.draw(seed) for seed in (3, 4, 5)]
    back = [source.draw(seed) for seed in (5, 4, 3)]
    assert all(_same(a, b) for a, b in zip(there, reversed(back), strict=True))
    assert not torch.equal(there[0].log_voxel, there[1].log_voxel)


def test_crops_of_a_head_are_the_same_in_any_order_and_differ(
    make_config: MakeConfig, sources: list[PairSource], head: LabelMap
) -> None:
    there, back = (make_source(sources[1].ladder, 1, make_config(), head, training=True, crops=3) for _ in range(2))
    order = [(3, 0), (4, 1), (3, 1), (3, 2)]
    pairs = {key: there.draw(*key) for key in order}
    assert all(_same(back.draw(*key), pairs[key]) for key in reversed(order))
    assert not torch.equal(pairs[3, 0].image, pairs[3, 1].image)
    assert torch.equal(pairs[3, 0].log_voxel, pairs[3, 1].log_voxel)  # of one scan
    # each crop's coarse level is made worse in its own way
    ratios = [float(pairs[3, n].coarse.logits.std()) for n in range(3)]  # type: ignore[union-attr]
    assert len({round(ratio, 4) for ratio in ratios}) == 3


def test_further_crops_of_a_head_compute_nothing_of_the_whole_head_again(
    make_config: MakeConfig, sources: list[PairSource], head: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(sources[1].ladder, 1, make_config(), head, training=True, crops=3)
    shapes: list[tuple[int, int, int]] = []

    def counted(plan: object, labels: LabelMap, grid: Grid, **options: int) -> tuple[torch.Tensor, torch.Tensor]:
        shapes.append(grid.shape)
        return render(plan, labels, grid, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lodbrain.training.samples.render", counted)
    for crop in range(3):
        source.draw(5, crop)
    assert len(shapes) == 4
    assert all(shape == (12, 16, 12) for shape in shapes[1:])


def test_frozen_levels_say_what_they_said_when_they_were_trained(
    make_config: MakeConfig, sources: list[PairSource], head: LabelMap
) -> None:
    source = make_source(sources[1].ladder, 1, make_config(bfloat16=False), head, training=False)
    with torch.no_grad():
        for value in source.ladder.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    source = make_source(source.ladder, 1, make_config(bfloat16=False), head, training=False)
    pair = first_pair(source.samples.head(3, 1).whole, source.ladder.level(0).stride)
    with torch.no_grad():
        expected = source.ladder.level(0)(pair.image, pair.log_voxel)
    found = run_folded(source.frozen[0], pair)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-4)


def test_crops_are_spread_over_the_brain_and_every_voxel_is_as_likely() -> None:
    inside = torch.zeros(8, 6, 6, dtype=torch.bool)
    inside[1:7, 1:5, 1:5] = True
    grid = Grid((8, 6, 6), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    random = torch.Generator().manual_seed(0)
    counts, nearest = torch.zeros(8, 6, 6), []
    for _ in range(1200):
        places = torch.tensor(foci_of(inside, grid, random, 4))
        for x, y, z in (places / 2).long().tolist():
            counts[x, y, z] += 1
        nearest.append(float(torch.pdist(places).min()))
    assert bool((counts[~inside] == 0).all())
    expected = 1200 * 4 / 96
    assert abs(counts[inside] - expected).max() < 5 * expected**0.5
    alone = [torch.tensor([foci_of(inside, grid, random)[0] for _ in range(4)]) for _ in range(1200)]
    assert sum(nearest) > 1.15 * sum(float(torch.pdist(places).min()) for places in alone)


def test_prefetched_pairs_are_those_of_the_seeds_in_order(sources: list[PairSource]) -> None:
    before = torch.get_num_threads()
    pairs = list(islice(prefetch(sources[1].draw, count(7), threads=before), 4))
    assert all(_same(pair, sources[1].draw(7 + i)) for i, pair in enumerate(pairs))
    assert torch.get_num_threads() == before


def test_prefetching_tells_what_went_wrong(sources: list[PairSource], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seed: int) -> TrainingPair:
        raise ValueError(f"seed {seed}")

    monkeypatch.setattr(sources[0], "draw", fail)
    with pytest.raises(ValueError, match="seed 0"):
        next(prefetch(sources[0].draw, count()))


@pytest.mark.parametrize("position", [0, 1])
def test_pair_fits_its_level(sources: list[PairSource], position: int) -> None:
    source = sources[position]
    for seed in range(3):
        pair = source.draw(seed)
        x, y, z = pair.image.shape[2:]
        stride = source.ladder.level(position).stride
        assert (x % stride, y % stride, z % stride) == (0, 0, 0)
        assert pair.target.shape == (1, N_CLASSES, x, y, z)
        torch.testing.assert_close(pair.target.sum(1), torch.ones(1, x, y, z), atol=1e-5, rtol=0)
        assert bool(pair.image.isfinite().all())
        # 5 to 7 mm voxels; the coarse level has twice that, and is called 8 mm
        assert abs(float(pair.log_voxel) - math.log2(6 / 4)) <= math.log2(7 / 6) + 0.1
        if position:
            assert pair.coarse is not None
            assert pair.coarse.logits.shape == (1, N_CLASSES, -(-x // 2), -(-y // 2), -(-z // 2))
            assert all(n <= c for n, c in zip((x, y, z), (12, 16, 12), strict=True))


def test_crop_lies_in_the_brain(sources: list[PairSource]) -> None:
    shares = [float(1 - sources[1].draw(seed).target[0, 0].mean()) for seed in range(4)]
    assert min(shares) > 0.1


def test_validation_is_not_corrupted(make_config: MakeConfig, sources: list[PairSource], head: LabelMap) -> None:
    clean = make_source(sources[1].ladder, 1, make_config(), head, training=False)
    dirty = make_source(
        sources[1].ladder,
        1,
        make_config(corruption={"drop": 1.0, "temperature": 0.5, "shift_share": 0.0}),
        head,
        training=True,
    )
    one, two = clean.draw(3), dirty.draw(3)
    assert one.coarse is not None
    assert two.coarse is not None
    assert torch.equal(one.image, two.image)
    assert not two.coarse.features.any()
    ratio = two.coarse.logits / one.coarse.logits
    torch.testing.assert_close(ratio, ratio.mean().expand(ratio.shape), atol=1e-3, rtol=0)
    assert math.exp(-0.5) <= float(ratio.mean()) <= math.exp(0.5)
    assert abs(float(ratio.mean()) - 1) > 1e-3


def test_coarse_level_under_a_crop_is_its_own_place(sources: list[PairSource]) -> None:
    values = torch.arange(6.0 * 5 * 4).view(1, 1, 6, 5, 4)
    cut = crop_below(LevelOutput(values, values), (2, 0, 0), (8, 2, 0), torch.Size((4, 6, 12)))
    assert torch.equal(cut.features[..., :4], values[:, :, 2:4, 1:4])
    # beyond the far edge the last voxel is repeated
    assert torch.equal(cut.features[..., 4:], values[:, :, 2:4, 1:4, 3:].expand(1, 1, 2, 3, 2))


def test_without_brain_the_middle_is_looked_at(sources: list[PairSource]) -> None:
    grid = Grid((10, 8, 6), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    nothing = torch.zeros(10, 8, 6, dtype=torch.bool)
    assert foci_of(nothing, grid, torch.Generator()) == [[10, 8, 9]]
    assert foci_of(nothing, grid, torch.Generator(), 3) == [[10, 8, 9]] * 3


def test_log_voxel_is_relative_to_the_levels_size() -> None:
    grid = Grid((1, 1, 1), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0))
    assert float(log_voxel_of(grid, 0)) == 1
    assert float(log_voxel_of(replace(grid, spacing_mm=(4.0, 4.0, 4.0)), 2)) == pytest.approx(0, abs=1e-6)


def test_brain_is_where_tissue_has_more_than_half_of_the_posterior() -> None:
    logits = torch.zeros(1, N_CLASSES, 3, 1, 1)
    logits[0, 0, 0], logits[0, 16, 1], logits[0, 1, 2] = 9.0, 9.0, 9.0  # background, CSF, white matter
    assert brain_of(logits).flatten().tolist() == [False, False, True]


def test_training_a_ladder_leaves_its_frozen_levels_alone(sources: list[PairSource]) -> None:
    ladder: Ladder = sources[1].ladder
    before = {name: value.clone() for name, value in ladder.state_dict().items()}
    pair = sources[1].draw(0)
    assert pair.coarse is not None
    assert not pair.coarse.logits.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in ladder.state_dict().items())


def test_batch_holds_each_pair_where_it_was_and_background_beyond(sources: list[PairSource]) -> None:
    one, two = sources[1].draw(0), sources[1].draw(1)
    assert two.coarse is not None
    small = two.coarse.map(lambda t: t[:, :, :4, :8, :6])
    two = TrainingPair(two.image[:, :, :8], two.target[:, :, :8], two.log_voxel, small)
    batch = collate([one, two])
    assert batch.coarse is not None
    assert batch.image.shape[2:] == one.image.shape[2:]
    for n, pair in enumerate((one, two)):
        x = pair.image.shape[2]
        assert torch.equal(batch.image[n : n + 1, :, :x], pair.image)
        torch.testing.assert_close(batch.target[n : n + 1, :, :x], pair.target)
        assert pair.coarse is not None
        assert torch.equal(batch.coarse.logits[n : n + 1, :, : x // 2], pair.coarse.logits)
        assert torch.equal(batch.coarse.features[n : n + 1, :, : x // 2], pair.coarse.features)
    assert bool((batch.target[1, 0, 8:] == 1).all())
    assert not batch.image[1, 0, 8:].any()
    assert torch.equal(batch.log_voxel, torch.cat([one.log_voxel, two.log_voxel]))
    assert collate([one]) is one
