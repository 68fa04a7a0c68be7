import math
from collections.abc import Callable

import pytest
import torch

from lodbrain.models.lod import LevelOutput
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config import TrainingConfig
from lodbrain.training.pairs import PairSource
from lodbrain.training.samples import SyntheticSamples
from lodbrain.training.sources import geometry_of
from lodbrain.training.stage_networks import build_ladder
from lodbrain.training.validation import VALIDATION_SEED, dice, score

MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture
def source(make_config: MakeConfig, head: LabelMap) -> PairSource:
    config = make_config()
    ladder = build_ladder(config).eval()
    samples = SyntheticSamples(["head"], {"head": head}, {"head": head}, config.generator, geometry_of(config, ladder))
    return PairSource(ladder, 0, samples, None, bfloat16=False)


class _Oracle(torch.nn.Module):
    """Answers with the targets of the pairs that it will be shown, rolled by some voxels."""

    def __init__(self, source: PairSource, roll: int = 0) -> None:
        super().__init__()
        self.pairs, self.roll = [source.draw(VALIDATION_SEED + i) for i in range(2)], roll

    def forward(self, image: torch.Tensor, log_voxel: torch.Tensor, coarse: LevelOutput | None) -> LevelOutput:
        pair = next(p for p in self.pairs if torch.equal(p.image, image))
        return LevelOutput(image, pair.target.roll(self.roll, 2) * 50)


def test_validation_of_a_perfect_level_is_one(source: PairSource) -> None:
    scores = score(source.draw, _Oracle(source), 2, bfloat16=False).summary()
    assert scores["structures"] == scores["tissues"] == 1
    assert scores["tissue1"] == scores["tissue3"] == 1
    assert math.isnan(scores["tissue5"])  # this head has no cerebellum


def test_validation_of_a_worse_level_is_less(source: PairSource) -> None:
    scores = [score(source.draw, _Oracle(source, roll), 2, bfloat16=False).summary()["tissues"] for roll in (0, 1, 2)]
    assert scores[0] > scores[1] > scores[2] > 0


def test_first_example_is_shown(source: PairSource) -> None:
    seen: list[torch.Tensor] = []
    oracle = _Oracle(source)
    score(source.draw, oracle, 2, bfloat16=False, show=lambda pair, predicted: seen.append(predicted))
    assert len(seen) == 1
    assert torch.equal(seen[0], oracle.pairs[0].target.argmax(1))


def test_dice_counts_voxels_and_leaves_out_tiny_classes() -> None:
    p, t = torch.zeros(1, 3, 4, 5, 1), torch.zeros(1, 3, 4, 5, 1)
    t[:, 1, :3] = 1  # 15 voxels
    p[:, 1, 1:] = 1  # 15, of which 10 are right
    t[:, 2, 3] = 1  # 5: too few
    found = dice(p, t).tolist()
    assert found[0] == pytest.approx(20 / 30)
    assert math.isnan(found[1])
