import pytest
import torch

from lodbrain.labels import N_CLASSES
from lodbrain.models.registry import REGISTRY, Plain

SMALL = {
    "lod-brain-2024": {},
    "meshnet": {"channels": 5},
    "segresnet": {"channels": 8},
    "dynunet": {"channels": (4, 8, 8, 8)},
}


def test_every_architecture_but_the_ladder_is_tried_here() -> None:
    assert set(REGISTRY) == {"lod", *SMALL}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_plain_network_scores_every_voxel_and_learns(name: str) -> None:
    torch.manual_seed(0)
    network = Plain(name, SMALL[name], 2)
    level = network.level(0)
    side = 16 if level.stride <= 8 else 2 * level.stride
    image = torch.randn(1, 1, side, side, side)
    output = level(image, torch.zeros(1))
    assert output.logits.shape == (1, N_CLASSES, side, side, side)
    assert output.side is None
    target = (image[:, 0] > 0).long()
    loss = torch.nn.functional.cross_entropy(output.logits, target)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    with torch.no_grad():
        for p in network.parameters():
            p -= 0.02 * p.grad / (p.grad.norm() + 1e-12)
    again = torch.nn.functional.cross_entropy(level(image, torch.zeros(1)).logits, target)
    assert float(again.detach()) < float(loss.detach())


def test_meshnet_has_the_parameters_of_its_layers() -> None:
    count = sum(p.numel() for p in Plain("meshnet", {"channels": 18}, 0).parameters())
    assert count == 18 * 27 + 8 * 18 * 18 * 27 + 9 * 2 * 18 + 33 * 19


def test_network_that_does_not_normalise_is_blind_beyond_its_reach() -> None:
    torch.manual_seed(0)
    level = Plain("meshnet", {"channels": 4}, 0).level(0).eval()
    image = torch.randn(1, 1, 52, 8, 8)
    other = image.clone()
    other[:, :, 48:] = 9  # 47 voxels from the second
    with torch.no_grad():
        one, two = (level(x, torch.zeros(1)).logits[:, :, :2] for x in (image, other))
    assert torch.equal(one, two)
