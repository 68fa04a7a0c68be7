"""LOD-Brain's network, and the independent implementation that it is measured against."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lodbrain.models.lod_brain_2024 import LodBrain2024


@pytest.fixture(scope="session")
def lod_brain_2024() -> LodBrain2024:
    """The published architecture with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LodBrain2024().eval()


@pytest.fixture
def peers(data_dir: Path) -> ModuleType:
    """The independent implementation that this one is measured against."""
    path = data_dir.parent / "tools" / "peers.py"
    if not path.is_file():
        pytest.skip(f"no {path}")
    pytest.importorskip("h5py", reason="the independent implementation reads the published HDF5 file")
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with torch.no_grad():  # the module switches gradients off for everyone; the end of the block restores them
        spec.loader.exec_module(module)
    return module
