"""The folded ladder gives what the trained one gives."""

import pytest
import torch

from lodbrain.models.blocks import double
from lodbrain.models.folded import FoldedLevel, double_part, fold
from lodbrain.models.lod import Ladder, LevelConfig, LevelOutput

CONFIGS = (LevelConfig(2, (4, 8, 8)), LevelConfig(1, (4, 8)), LevelConfig(0, (4,), False))


BLOCKS = (*CONFIGS[:2], LevelConfig(0, (4, 8), False, block=2, residuals=2))


@pytest.fixture(scope="module", params=[CONFIGS, BLOCKS], ids=["voxels", "blocks"])
def ladder(request: pytest.FixtureRequest) -> Ladder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ladder = Ladder(request.param).eval()
        for parameter in ladder.parameters():  # none of them at the value it begins with
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return ladder


@torch.no_grad()
def test_every_level_gives_what_its_forward_pass_gives(ladder: Ladder) -> None:
    random = torch.Generator().manual_seed(1)
    expected: LevelOutput | None = None
    found: LevelOutput | None = None
    for position, level in enumerate(fold(ladder, torch.float32)):
        image = torch.randn((1, 1, *(8 << position,) * 3), generator=random)
        expected = ladder.level(position)(image, torch.tensor([0.2]), expected)
        coarse = None if found is None else level.for_next(found)
        features = level.features(image, 0.2, coarse)
        whole = tuple((0, n) for n in image.shape[2:])
        found = level.score(features, coarse, whole)  # type: ignore[arg-type]
        torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
        assert float(expected.logits.std()) > 0.1
        part = level.score(features, coarse, ((2, 5), (0, 6), (4, 8)))
        torch.testing.assert_close(part.logits, found.logits[:, :, 2:5, 0:6, 4:8], rtol=1e-5, atol=1e-5)
        assert part.features.shape[2:] == part.logits.shape[2:]
    assert found is not None
    assert expected is not None
    assert found.side is not None
    torch.testing.assert_close(found.side, expected.side, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_temperature_divides_logits_and_side_of_the_last_level_only(ladder: Ladder) -> None:
    plain, warm = fold(ladder, torch.float32, last=2), fold(ladder, torch.float32, last=2, temperature=2.5)
    random = torch.Generator().manual_seed(1)
    coarse: LevelOutput | None = None
    for position, (level, other) in enumerate(zip(plain, warm, strict=True)):
        image = torch.randn((1, 1, *(8 << position,) * 3), generator=random)
        under = None if coarse is None else level.for_next(coarse)
        features = level.features(image, 0.2, under)
        whole = tuple((0, n) for n in image.shape[2:])
        coarse, found = level.score(features, under, whole), other.score(features, under, whole)  # type: ignore[arg-type]
        factor = 2.5 if position == 2 else 1.0
        torch.testing.assert_close(found.logits * factor, coarse.logits, rtol=1e-4, atol=1e-4)
    assert coarse is not None
    assert coarse.side is not None
    assert found.side is not None
    torch.testing.assert_close(found.side * 2.5, coarse.side)
    assert len(fold(ladder, torch.float32, last=1)) == 2


@torch.no_grad()
def test_logits_are_float32_where_convolutions_are_bfloat16(ladder: Ladder) -> None:
    assert [level.dtype for level in fold(ladder, torch.bfloat16)] == [torch.float32, torch.bfloat16, torch.bfloat16]
    level = FoldedLevel(ladder.level(0), torch.bfloat16)
    image = torch.randn((1, 1, 8, 8, 8), generator=torch.Generator().manual_seed(1))
    features = level.features(image, 0.0)
    assert features.dtype == torch.bfloat16
    scored = level.score(features, None, ((0, 8), (0, 8), (0, 8)))
    assert scored.logits.dtype == torch.float32
    exact = ladder.level(0)(image, torch.tensor([0.0])).logits
    assert 0 < float((scored.logits - exact).abs().max()) < 0.05 * float(exact.abs().max())


@pytest.mark.parametrize("part", [((0, 14), (0, 10), (0, 12)), ((4, 9), (2, 3), (6, 12)), ((12, 14), (8, 10), (0, 1))])
def test_doubling_a_part_gives_that_part_of_the_whole(part: tuple[tuple[int, int], ...]) -> None:
    x = torch.randn((3, 7, 5, 6), generator=torch.Generator().manual_seed(0))
    whole = double(x[None], (14, 10, 12))[0]
    (a, b), (c, d), (e, f) = part
    torch.testing.assert_close(double_part(x, ((a, b), (c, d), (e, f))), whole[:, a:b, c:d, e:f])
