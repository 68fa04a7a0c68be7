"""An exported ladder segments as the ladder itself, and its card says how."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx_levels import OnnxLevel
from tiny_model import head, save_tiny_model

from lodbrain.commands import main
from lodbrain.errors import UsageError
from lodbrain.images import Image, read_image, to_ras
from lodbrain.inference import ladder
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import INDEX_OF_CLASS
from lodbrain.models import zoo
from lodbrain.models.folded import FoldedLevel
from lodbrain.models.lod_brain_2024 import LodBrain2024
from lodbrain.segmentation.onnx_export import export_onnx


def _segment(
    model: str | Path, data: NDArray[np.float32], spacing_mm: tuple[float, float, float], *, tile_voxels: int
) -> Any:
    card, network = zoo.load(model)
    options = Options(dtype="float32", tile_voxels=tile_voxels, postprocess=False)
    return predict(np.ascontiguousarray(data), spacing_mm, card=card, network=network, options=options)


def _in_onnx_runtime(monkeypatch: pytest.MonkeyPatch, card: dict[str, Any], folder: Path) -> None:
    def exported(
        network: object, dtype: torch.dtype, *, last: int, temperature: float
    ) -> tuple[FoldedLevel | OnnxLevel, ...]:
        assert temperature == card["levels"][last]["temperature"]
        rows = card["levels"][: last + 1]
        return tuple(OnnxLevel(row, folder, temperature if p == last else 1.0) for p, row in enumerate(rows))

    monkeypatch.setattr(ladder, "fold", exported)


def _spacing(image: Image) -> tuple[float, float, float]:
    x, y, z = image.spacing_mm.tolist()
    return x, y, z


@pytest.mark.parametrize("voxel_mm", [2.5, 3.5])  # it ends on the second level, and on the first
def test_a_tiny_ladder_gives_the_labels_of_pytorch(
    voxel_mm: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    paths = export_onnx(model, tmp_path / "out")
    assert [path.name for path in paths] == ["tiny-level2.onnx", "tiny-level1.onnx", "tiny.json"]
    card = json.loads(paths[-1].read_text(encoding="utf-8"))
    data, spacing = head((64, 72, 60)).astype(np.float32), (voxel_mm,) * 3
    expected = _segment(model, data, spacing, tile_voxels=40_000)
    _in_onnx_runtime(monkeypatch, card, tmp_path / "out")
    found = _segment(model, data, spacing, tile_voxels=40_000)
    assert len(np.unique(expected.classes)) > 5
    assert np.mean(found.classes != expected.classes) <= 1e-5
    np.testing.assert_allclose(found.soft_volume_vox, expected.soft_volume_vox, rtol=1e-4, atol=0.1)


@pytest.mark.data
@pytest.mark.slow
def test_the_default_model_gives_the_labels_of_pytorch_on_a_real_head(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, path = export_onnx("default", tmp_path)
    image, _ = to_ras(read_image(data_dir / "heads" / "philips_1mm_T1w.nii.gz"))
    expected = _segment("default", image.data, _spacing(image), tile_voxels=2_000_000)
    _in_onnx_runtime(monkeypatch, json.loads(path.read_text(encoding="utf-8")), tmp_path)
    found = _segment("default", image.data, _spacing(image), tile_voxels=2_000_000)
    differing = float(np.mean(found.classes != expected.classes))
    with capsys.disabled():
        print(f"\nONNX Runtime and PyTorch differ in {differing:.1e} of the voxels")  # noqa: T201
    assert differing <= 1e-5


def test_the_card_holds_checksums_labels_and_calibration(tmp_path: Path) -> None:
    *graphs, path = export_onnx("default", tmp_path)
    card = json.loads(path.read_text(encoding="utf-8"))
    for graph, row in zip(graphs, card["levels"], strict=True):
        assert (row["file"], row["bytes"]) == (graph.name, graph.stat().st_size)
        assert row["sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
        calibration = zoo.card("default").calibration[str(row["exponent"])]
        assert {key: row[key] for key in ("temperature", "coverage", "widths")} == calibration
    assert [row["index"] for row in card["labels"]] == INDEX_OF_CLASS.tolist()
    assert [card["sideless"][row["sideless"]] for row in card["labels"]][:2] == ["Background", "Cerebral-White-Matter"]
    assert (card["format"], card["format_version"]) == ("lodbrain-onnx", 1)
    assert card["weights_sha256"] == zoo.card("default").sha256


def test_an_export_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    for first, second in zip(export_onnx(model, tmp_path / "a"), export_onnx(model, tmp_path / "b"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_command_prints_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    assert main(["models", "export", str(model), "-o", str(tmp_path / "out"), "--onnx"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [str(tmp_path / "out" / f"tiny{end}") for end in ("-level2.onnx", "-level1.onnx", ".json")]
    assert all(Path(line).is_file() for line in printed)


def test_the_command_asks_for_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "default", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "lodbrain: the format to export is missing. Add --onnx\n"


def test_other_architectures_are_refused(tmp_path: Path, lod_brain_2024_file: Path) -> None:
    with pytest.raises(UsageError, match="is not a ladder"):
        export_onnx(str(lod_brain_2024_file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def lod_brain_2024_file(tmp_path: Path) -> Path:
    """LOD-Brain's architecture with random weights, as a model file."""
    path = tmp_path / "published.safetensors"
    zoo.save(path, zoo.card("lod-brain-2024"), LodBrain2024().state_dict())
    return path
