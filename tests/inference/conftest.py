"""LOD-Brain's network with random weights."""

import pytest
import torch

from lodbrain.models.lod_brain_2024 import LodBrain2024


@pytest.fixture(scope="session")
def lod_brain_2024() -> LodBrain2024:
    """The published architecture with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LodBrain2024().eval()
