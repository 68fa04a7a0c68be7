"""Networks and losses of the stages: a single level, all levels jointly, or one plain network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from lodbrain.errors import UsageError
from lodbrain.models import zoo
from lodbrain.models.lod import Ladder, Level, LevelConfig, LevelOutput
from lodbrain.models.registry import Plain
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import Losses
from lodbrain.training.losses import segmentation_loss
from lodbrain.training.pairs import TrainingPair, first_pair, next_pair, scaling_below
from lodbrain.training.samples import MultiResolutionSample
from lodbrain.training.stage import checkpoint_path


def build_ladder(config: TrainingConfig) -> Ladder:
    """Return the untrained ladder of a configuration, with weights from the seed or from the model it starts from.

    Raises
    ------
    UsageError
        If the starting model's levels do not match.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        ladder = Ladder(level_configs(config))
    if config.start is not None:
        _fill_from(ladder, config.start, config)
    return ladder


def level_configs(config: TrainingConfig) -> tuple[LevelConfig, ...]:
    """Return the levels of a configuration, coarsest first."""
    return tuple(LevelConfig(row.exponent, row.channels, row.sided, row.block, row.residuals) for row in config.levels)


def average_with_start(ladder: Ladder, config: TrainingConfig) -> None:
    """Interpolate the trained weights towards those that the run started from, in place, by `start_share` (WiSE-FT).

    The mean of two sets of weights on one training path is often better than either: the gain of the stage is kept,
    with less forgetting. Levels that did not start from the model (absent, or `fresh`) are unchanged.

    References
    ----------
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903.
    """
    assert config.start is not None
    before = _levels_of(config.start)[1]
    for n, own in enumerate(ladder.configs):
        if own.exponent not in before or config.levels[n].fresh:
            continue
        begun = before[own.exponent].state_dict()
        for name, value in ladder.level(n).state_dict().items():
            if value.is_floating_point():
                value.lerp_(begun[name].to(value), config.start_share)


def _levels_of(start: str) -> tuple[str, dict[int, Level]]:
    """Return the name of a starting model, and its levels by exponent."""
    card, model = zoo.load(start)
    if not isinstance(model, Ladder):
        raise UsageError("start", None, f"start: {card.name} is no ladder", "Name `default` or a file that was trained")
    return card.name, {settings.exponent: model.level(n) for n, settings in enumerate(model.configs)}


def _fill_from(ladder: Ladder, start: str, config: TrainingConfig) -> None:
    """Copy the levels of the starting model; levels that it lacks, and `fresh` ones, keep their random weights."""
    name, there = _levels_of(start)
    for n, own in enumerate(ladder.configs):
        if config.levels[n].fresh:
            continue
        if own.exponent not in there:
            if config.levels[n].steps == 0:
                what = f"levels.{n}.steps: 0, but {name} has no level of {2.0**own.exponent:g} mm to keep"
                raise UsageError("start", None, what, "Give it steps")
            continue
        other = there[own.exponent]
        theirs, ours = other.state_dict(), ladder.level(n).state_dict()
        unlike = [
            k
            for k in ours.keys() | theirs.keys()
            if k not in ours or k not in theirs or ours[k].shape != theirs[k].shape
        ]
        if unlike:
            has = f"channels {list(other.config.channels)}, sided {str(other.config.sided).lower()}"
            what = f"levels.{n}.channels: {name} has {has} there, and a level above of its own"
            hint = (
                "Use the same levels as the starting model, or `fresh: true` for one that is trained from the beginning"
            )
            raise UsageError("start", None, what, hint)
        ladder.level(n).load_state_dict(theirs)


def level_name(config: TrainingConfig, position: int) -> str:
    """Return the name of a level's stage."""
    return f"level{config.levels[position].exponent:+d}"


def load_trained_levels(network: Ladder | Plain, config: TrainingConfig, upto: int) -> None:
    """Load the averaged weights of checkpoints into the levels before `upto`; those of 0 steps are unchanged."""
    for position in range(upto):
        if config.levels[position].steps == 0:
            continue
        path = checkpoint_path(config, level_name(config, position))
        found = load_checkpoint(path)
        if found is None:
            raise FileNotFoundError(f"{path}: train this level first")
        network.level(position).load_state_dict(found[0]["ema"])


class LevelLoss(nn.Module):
    """The loss of one level, a module called in the same way as `Level`, on a batch of pairs."""

    def __init__(self, level: nn.Module, weights: Losses, *, bfloat16: bool) -> None:
        super().__init__()
        self.level, self.weights, self.autocast = level, weights, bfloat16

    def forward(self, pair: TrainingPair) -> torch.Tensor:
        """() tensor."""
        with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.level(pair.image, pair.log_voxel, pair.coarse)
        return segmentation_loss(output.logits, pair.target, weights=self.weights)


class JointLoss(nn.Module):
    """The mean loss of all levels on multi-resolution samples, with gradients through the whole ladder."""

    def __init__(self, ladder: Ladder, weights: Losses, *, bfloat16: bool) -> None:
        super().__init__()
        self.ladder, self.weights, self.autocast = ladder, weights, bfloat16

    def forward(self, samples: Iterable[MultiResolutionSample]) -> torch.Tensor:
        """() tensor."""
        losses = [
            segmentation_loss(output.logits, pair.target, weights=self.weights)
            for sample in samples
            for output, pair in forward_levels(self.ladder, sample, bfloat16=self.autocast)
        ]
        return torch.stack(losses).mean()


def forward_levels(
    network: Ladder | Plain, sample: MultiResolutionSample, *, bfloat16: bool
) -> Iterator[tuple[LevelOutput, TrainingPair]]:
    """Yield each level's output for a multi-resolution sample with the pair that it is of, coarsest level first."""
    pair = first_pair(sample.views[0], network.level(0).stride)
    for position in range(len(sample.views)):
        with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=bfloat16):
            output: LevelOutput = network.level(position)(pair.image, pair.log_voxel, pair.coarse)
        yield output, pair
        if position == 0:
            scaling = scaling_below(sample.views[0], output)
        if position + 1 < len(sample.views):
            stride = network.level(position + 1).stride
            pair = next_pair(sample, position + 1, scaling, output.map(torch.Tensor.float), stride)


def channels_last(module: nn.Module) -> None:
    """Lay out the kernels of a module for channels-last convolutions, which are faster.

    Kernels of one voxel are unchanged: both layouts are the same memory, and gradients have the plain one.
    """
    for parameter in module.parameters():
        if parameter.dim() == 5 and parameter[0, 0].numel() > 1:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
