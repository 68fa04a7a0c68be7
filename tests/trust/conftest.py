"""A bench for each case: a small head, a tiny model, an output folder, no network, no waiting."""

from pathlib import Path

import pytest
from tiny_model import save_tiny_model
from trust_cases import Bench


@pytest.fixture(scope="session")
def tiny_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def bench(
    tmp_path: Path, tiny_model_file: Path, own_cache: Path, elsewhere: object, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """No download gets out, and none waits before it is tried again."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("lodbrain.system.download._ATTEMPTS", 1)
    (tmp_path / "in").mkdir()
    return Bench(tmp_path / "in", tiny_model_file, own_cache)
