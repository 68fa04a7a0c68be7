from collections.abc import Callable

import torch

from lodbrain.training.config import TrainingConfig
from lodbrain.training.step_memory import LiveBytes, step_memory

MakeConfig = Callable[..., TrainingConfig]


def test_live_bytes_are_those_of_the_tensors_that_are_alive() -> None:
    with LiveBytes() as live:
        one = torch.zeros(1000)
        two = one + 1
        assert live.now == 8000
        view = two[:10]
        assert live.now == 8000  # a view has no memory of its own
        del one
        assert live.now == 4000
        del two
        assert live.now == 4000  # the view keeps it
        del view
        assert live.now == 0
        assert live.peak == 8000


def test_step_takes_more_with_more_voxels_batch_and_precision(make_config: MakeConfig) -> None:
    config = make_config(bfloat16=True)
    small, large = (step_memory(config, 1, (n, n, n)).peak for n in (16, 32))
    assert 4.5 < large / small < 9  # eight times the voxels, and a little that is fixed
    assert 1.8 < step_memory(config, 1, (32, 32, 32), batch=2).peak / large < 2.05
    assert step_memory(make_config(bfloat16=False), 1, (32, 32, 32)).peak > 1.05 * large


def test_no_less_than_pair_and_logits_is_counted(make_config: MakeConfig) -> None:
    memory = step_memory(make_config(), 0, (32, 32, 32))
    voxels = 32**3
    assert memory.pair == 4 * (voxels * (1 + 33) + 1)
    # in a step the pair, the logits in 32 bits, and their gradient are alive at once
    assert memory.peak > memory.pair + 2 * 4 * 33 * voxels


def test_state_of_the_configured_optimizer_is_counted(make_config: MakeConfig) -> None:
    adamw, muon = (step_memory(make_config(optimizer=name), 0, (8, 8, 8)).peak for name in ("adamw", "muon"))
    assert muon < adamw  # one average of each kernel's gradients, not two
