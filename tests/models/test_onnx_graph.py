"""The exported graphs give what PyTorch gives, at any size."""

from pathlib import Path

import pytest
import torch
from onnx_levels import OnnxLevel

from lodbrain.models.folded import fold
from lodbrain.models.lod import Ladder, LevelConfig, LevelOutput
from lodbrain.models.onnx_graph import level_graph

#: Every kind of handover (sided to sided, sided to sideless, sideless to sideless), and a level on blocks.
CONFIGS = (
    LevelConfig(2, (4, 8, 8)),
    LevelConfig(1, (4, 8)),
    LevelConfig(0, (6, 4), False),
    LevelConfig(-1, (4, 6), False, block=2, residuals=3),
)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ladder = Ladder(CONFIGS).eval()
        for parameter in ladder.parameters():  # none of them at the value it begins with
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return ladder


@torch.no_grad()
@pytest.mark.parametrize("shape", [(4, 8, 12), (12, 4, 4)])
def test_every_level_gives_what_pytorch_gives(ladder: Ladder, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    random = torch.Generator().manual_seed(1)
    expected: LevelOutput | None = None
    above: LevelConfig | None = None
    for position, level in enumerate(fold(ladder, torch.float32)):
        config = level.config
        (tmp_path / "level.onnx").write_bytes(level_graph(level, above).SerializeToString())
        row = {"file": "level.onnx", "exponent": config.exponent, "channels": config.channels, "sided": config.sided}
        row["block"] = config.block
        exported = OnnxLevel(row | {"stride": level.stride, "radius": level.radius}, tmp_path)
        image = torch.randn((1, 1, *(n << position for n in shape)), generator=random)
        whole = tuple((0, n) for n in image.shape[2:])
        found = exported.score(exported.features(image, 0.2, expected), expected, whole)  # type: ignore[arg-type]
        coarse = None if expected is None else level.for_next(expected)
        expected = level.score(level.features(image, 0.2, coarse), coarse, whole)  # type: ignore[arg-type]
        torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
        assert (found.side is None) == (expected.side is None) == config.sided
        if found.side is not None:
            torch.testing.assert_close(found.side, expected.side, rtol=1e-4, atol=1e-4)
        assert float(expected.logits.std()) > 0.1
        above = config


def test_other_arithmetic_or_temperature_is_refused(ladder: Ladder) -> None:
    for level in (fold(ladder, torch.bfloat16)[1], fold(ladder, torch.float32, temperature=2.0)[-1]):
        with pytest.raises(ValueError, match="must be float32 at temperature 1"):
            level_graph(level, CONFIGS[0])
