import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lodbrain.models import zoo
from lodbrain.models.lod_brain_2024 import LodBrain2024


def test_network_has_337719_parameters(lod_brain_2024: LodBrain2024) -> None:
    assert sum(parameter.numel() for parameter in lod_brain_2024.parameters()) == 337_719


def test_group_norms_have_the_published_epsilon_and_groups(lod_brain_2024: LodBrain2024) -> None:
    norms = [module for module in lod_brain_2024.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert [(norm.eps, norm.num_groups) for norm in norms] == [(1e-3, 8)] * 6


def test_every_parameter_gets_a_gradient_and_a_step_lowers_the_loss() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LodBrain2024(dropout=0.0).train()
        x = torch.randn(1, 1, 16, 8, 24)
        target = torch.randint(0, 7, (1, 16, 8, 24))
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert losses[2] < losses[1] < losses[0]


def test_dropout_is_active_in_training_only() -> None:
    network = LodBrain2024(dropout=0.5)
    x = torch.ones(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert not torch.equal(network.train()(x), network(x))
        assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize("shape", [(1, 1, 12, 8, 8), (1, 2, 8, 8, 8), (1, 8, 8, 8)])
def test_input_of_a_wrong_shape_is_refused_with_the_shape_named(
    lod_brain_2024: LodBrain2024, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, got \(1, "):
        lod_brain_2024(torch.zeros(shape))


@pytest.mark.data
def test_published_weights_give_the_logits_of_an_independent_implementation(data_dir: Path, peers: ModuleType) -> None:
    _, network = zoo.load("lod-brain-2024")
    reference = peers.LodBrain(str(data_dir / "peers" / "lod-brain-2024" / "weights_lv1.h5"))
    x = torch.randn(1, 1, 64, 48, 40, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        torch.testing.assert_close(network(x), reference(x), rtol=1e-4, atol=1e-4)


def test_the_network_is_built_on_no_device_without_loading_the_decompositions_of_torch() -> None:
    # `accurate` is checked on the device "meta" before it is loaded; a normal draw there imports 800 modules in 1.3 s.
    code = (
        "import sys, torch\n"
        "from lodbrain.models.lod_brain_2024 import LodBrain2024\n"
        "before = len(sys.modules)\n"
        "with torch.device('meta'):\n"
        "    LodBrain2024()\n"
        "assert len(sys.modules) - before < 20, len(sys.modules) - before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
