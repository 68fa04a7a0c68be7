"""What all tests share: the development data, no network, a cache of their own."""

import dataclasses
import importlib.util
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lodbrain.models.card import Card

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("LODBRAIN_DATA") or ROOT.parent / "shared" / "data")

# No deadline: a busy machine is no failure. No database: a test must not depend on what failed here before.
hypothesis.settings.register_profile("lodbrain", deadline=None, database=None)
hypothesis.settings.load_profile("lodbrain")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine has no data or device for."""
    if not DATA.is_dir():
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason=f"no development data at {DATA}; set LODBRAIN_DATA"))
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="neither CUDA nor MPS here"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the development data; tests that use it carry ``@pytest.mark.data``."""
    if not DATA.is_dir():
        pytest.skip(f"no development data at {DATA}; set LODBRAIN_DATA")
    return DATA


@pytest.fixture(scope="session")
def template_4mm() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The ICBM152 template averaged to 4 mm, in RAS order, with an oblique affine: a head that takes a second."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        pytest.skip("nilearn, which carries the template, is not installed")
    from lodbrain.images import read_image, to_ras

    folder = Path(spec.origin).parent / "datasets" / "data"
    image, _ = to_ras(read_image(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"))
    x, y, z = (n // 4 for n in image.shape)
    data = image.data[: 4 * x, : 4 * y, : 4 * z].reshape(x, 4, y, 4, z, 4).mean((1, 3, 5))
    turn = np.deg2rad(12)
    affine = np.eye(4)
    affine[:3, :3] = 4 * np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine[:3, 3] = -90, -126, -72
    return data.astype(np.float32), affine


@pytest.fixture
def head_4mm(template_4mm: tuple[NDArray[np.float32], NDArray[np.float64]], tmp_path: Path) -> Path:
    """The same as a file, head.nii.gz."""
    from lodbrain.images import Image, write_nifti

    data, affine = template_4mm
    write_nifti(tmp_path / "head.nii.gz", data, Image(data, affine))
    return tmp_path / "head.nii.gz"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LODBRAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A named model beside the others, whose weights are not in the package but have an address."""
    from lodbrain.models import zoo

    folder = tmp_path_factory.mktemp("models")
    for path in zoo.MODELS.iterdir():
        (folder / path.name).symlink_to(path)
    card = dataclasses.replace(
        zoo.card("lod-brain-2024"),
        name="elsewhere",
        file="elsewhere.safetensors",
        url="https://example.org/v1/elsewhere.safetensors",
    )
    (folder / "elsewhere.json").write_text(card.to_json())
    monkeypatch.setattr(zoo, "MODELS", folder)
    return card


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the loopback can be reached, except in tests marked ``network``."""
    if request.node.get_closest_marker("network"):
        yield
        return
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            raise OSError(f"a test tried to reach {address[0]}; mark it `network` if it must")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", loopback_only)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield


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
