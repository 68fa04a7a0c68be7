from pathlib import Path

import pytest
import torch
from torch import nn

from lodbrain.models.lod import Level, LevelConfig
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.muon import Muon, orthogonal
from lodbrain.training.state import restore, save


def level(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Level(LevelConfig(3, (4, 8)))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)
    optimizer.step()


def is_kernel(parameter: torch.Tensor) -> bool:
    return parameter.ndim == 5 and parameter.shape[-1] > 1


@pytest.mark.parametrize("shape", [(4, 108), (96, 27)])
def test_all_directions_of_a_matrix_become_equally_strong(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 5, shape[1])
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert orthogonal(matrix).shape == shape
    assert 0.3 < values.min() < values.max() < 1.3


def test_kernels_step_along_orthogonal_directions_and_others_as_adamw() -> None:
    network, other = level(), level()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step(network, Muon(network.parameters(), lr=0.01, weight_decay=0.0), 1)
    step(other, torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.0), 1)
    kernels = 0
    for old, new, adamw in zip(before, network.parameters(), other.parameters(), strict=True):
        if not is_kernel(new):
            torch.testing.assert_close(new, adamw)
            continue
        kernels += 1
        moved = ((new - old) / 0.01).flatten(1)
        values = torch.linalg.svdvals(moved.detach()) / (0.2 * max(moved.shape) ** 0.5)
        assert 0.3 < values.min() < values.max() < 1.3
    assert kernels > 3


def test_checkpoint_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, broken = level(), level()
    one, two = (Muon(each.parameters(), lr=0.01, weight_decay=0.1) for each in (whole, broken))
    for seed in (1, 2):
        step(whole, one, seed)
        step(broken, two, seed)
    save(tmp_path / "level.safetensors", broken, dict(broken.state_dict()), two, {})
    resumed = level(seed=9)
    again = Muon(resumed.parameters(), lr=0.01, weight_decay=0.1)
    found = load_checkpoint(tmp_path / "level.safetensors")
    assert found is not None
    restore(resumed, again, found[0])
    step(whole, one, 3)
    step(resumed, again, 3)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
