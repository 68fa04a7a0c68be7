"""A level of blocks, trained for a moment: it is as often right at every place in a block."""

import pytest
import torch
import torch.nn.functional as F

from lodbrain.models.lod import Level, LevelConfig

SIZE, MARGIN = 24, 4


def _scan(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 1, n, n, n) image of smooth blobs with noise, and (1, n, n, n) class: 1 in the blobs."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, 1, 8, 8, 8), generator=random)
    field = F.interpolate(coarse, (SIZE + 2,) * 3, mode="trilinear", align_corners=True)
    target = (field[0] > 0.2).long()
    return target[None].float() - 0.5 + 0.8 * torch.randn(field.shape, generator=random), target


def _trained(config: LevelConfig) -> Level:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        level = Level(config)
    optimizer = torch.optim.Adam(level.parameters(), lr=1e-2)
    for step in range(120):
        image, target = (t[..., :SIZE, :SIZE, :SIZE] for t in _scan(step))
        loss = F.cross_entropy(level(image, torch.zeros(1)).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return level.eval()


@pytest.mark.slow
def test_every_place_in_a_block_is_as_often_right() -> None:
    level, right = _trained(LevelConfig(0, (24,), block=2)), torch.zeros(2, 2, 2)
    kept = slice(MARGIN, SIZE - MARGIN)
    for seed in range(1000, 1012):
        image, target = (t[..., :SIZE, :SIZE, :SIZE] for t in _scan(seed))
        with torch.no_grad():
            hit = (level(image, torch.zeros(1)).logits.argmax(1) == target).float()
        right += hit[0, kept, kept, kept].reshape(8, 2, 8, 2, 8, 2).mean((0, 2, 4)) / 12
    assert float(right.min()) > 0.85
    assert float(right.max() - right.min()) < 0.015
