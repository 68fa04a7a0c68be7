"""Complete, resumable training run, from label maps and scans to a model file with its card."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lodbrain.errors import UsageError
from lodbrain.models.lod import Ladder
from lodbrain.models.registry import REGISTRY, Plain
from lodbrain.training.config import TrainingConfig
from lodbrain.training.export import export
from lodbrain.training.maps import load_maps
from lodbrain.training.pairs import PairSource, collate
from lodbrain.training.pictures import picture
from lodbrain.training.sources import Sources, geometry_of, make_sources
from lodbrain.training.stage import Outcome, TrainingStage, open_heads, run_stage
from lodbrain.training.stage_networks import (
    JointLoss,
    LevelLoss,
    average_with_start,
    build_ladder,
    channels_last,
    level_name,
    load_trained_levels,
)
from lodbrain.training.validation import VALIDATION_SEED, score
from lodbrain.training.workers import Workers, join

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Report = Callable[[str], None]

JOINT = "joint"


def train(
    config: TrainingConfig,
    *,
    report: Report = lambda line: None,
    stop_after: int | None = None,
    accept_changes: bool = False,
) -> Path:
    """Train every level of a configuration, then all jointly, and write the model file.

    A killed run continues from its checkpoints; complete levels are not trained again. Under `torchrun` the processes
    train together; the first one writes.

    Parameters
    ----------
    stop_after : int or None
        Number of levels to train in this call; None for all, and the joint stage.

    Returns
    -------
    Path
        The model file: safetensors with the card in its metadata.

    Raises
    ------
    InputError
        If a label map or scan of the configuration is missing.
    UsageError
        If a checkpoint was trained with other settings, or the configuration does not match its data.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with join(config.device) as workers:
        return TrainingRun(config, workers, report if workers.first else lambda line: None, accept_changes).all(
            stop_after
        )


def build(config: TrainingConfig) -> Ladder | Plain:
    """Return the network of a configuration, with random weights or those of its starting model.

    Raises
    ------
    UsageError
        If there is no such architecture, or its options are not valid.
    """
    if config.is_ladder:
        return build_ladder(config)
    if config.architecture not in REGISTRY:
        known = ", ".join(REGISTRY)
        raise UsageError(
            "config", None, f"architecture: there is none named {config.architecture!r}", f"Known: {known}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            return Plain(config.architecture, config.options, config.levels[0].exponent)
        except (TypeError, ValueError) as error:
            what = f"options: {config.architecture} cannot be built with them ({error})"
            raise UsageError("config", None, what, "see docs/howto/training.md") from None


class TrainingRun:
    """One call of `train` in one process: its network, its label maps, its stages."""

    def __init__(self, config: TrainingConfig, workers: Workers, report: Report, accept_changes: bool) -> None:
        self.config, self.workers, self.report, self.accept_changes = config, workers, report, accept_changes
        device = workers.device
        self.network = build(config).to(device)
        self.maps = {name: labels.to(device) for name, labels in load_maps(config, report).items()}
        self.geometry = geometry_of(config, self.network)

    def all(self, stop_after: int | None) -> Path:
        """Train the first `stop_after` levels, or all and the joint stage; return the model's file."""
        config = self.config
        if self.workers.first:
            config.out.mkdir(parents=True, exist_ok=True)
        self.workers.wait()
        count = len(config.levels) if stop_after is None else min(stop_after, len(config.levels))
        outcomes = {}
        for position in range(count):
            if config.levels[position].steps != 0:
                outcomes[level_name(config, position)] = self.level(position)
        if config.joint is not None and stop_after is None:
            outcomes[JOINT] = self.joint()
        path = config.out / f"{config.name}.safetensors"
        if self.workers.first:
            if isinstance(self.network, Ladder) and config.start_share:
                average_with_start(self.network, config)
            path = export(self.network, config, outcomes, count)
        self.workers.wait()
        return path

    def level(self, position: int) -> Outcome:
        """Train one level with the levels above frozen."""
        config, network = self.config, self.network
        settings, name, device = config.levels[position], level_name(config, position), self.workers.device
        load_trained_levels(network, config, position)
        for above in range(position):
            network.level(above).eval().requires_grad_(False)
        sources = self._sources(position)
        level = network.level(position)
        channels_last(level)
        assert sources.training is not None
        crops = settings.crops_per_head if position and settings.crop is not None else 1
        source = PairSource(
            network, position, sources.training, config.corruption, bfloat16=config.autocasts,
            crops=crops, heads=open_heads(config, crops, self.workers.count),
        )  # fmt: skip
        with self._log(name) as log:
            stage = TrainingStage(
                name=name,
                number=position,
                network=level,
                loss=LevelLoss(level, config.losses, bfloat16=config.autocasts).to(device),
                draw=source.draw,
                collate=collate,
                validate=lambda: self.validate(sources, position, log),
                budget=settings,
                rate=settings.learning_rate,
                crops=crops,
            )
            return run_stage(stage, config, workers=self.workers, log=log, accept_changes=self.accept_changes)

    def joint(self) -> Outcome:
        """Fine-tune all levels together."""
        config, ladder = self.config, self.network
        assert isinstance(ladder, Ladder)
        assert config.joint is not None
        load_trained_levels(ladder, config, len(config.levels))
        channels_last(ladder.requires_grad_(True))
        last = len(config.levels) - 1
        sources = self._sources(last)
        training = sources.training
        assert training is not None
        rate = config.joint.learning_rate or config.levels[-1].learning_rate / 10
        with self._log(JOINT) as log:
            stage = TrainingStage(
                name=JOINT,
                number=last + 1,
                network=ladder,
                loss=JointLoss(ladder, config.losses, bfloat16=config.autocasts),
                draw=lambda seed, _: training.sample(seed, last),
                collate=list,
                validate=lambda: self.validate(sources, last, log),
                budget=config.joint,
                rate=rate,
            )
            return run_stage(stage, config, workers=self.workers, log=log, accept_changes=self.accept_changes)

    def _sources(self, position: int) -> Sources:
        config, device = self.config, self.workers.device
        if not self.workers.first:
            self.workers.wait()  # the first process makes the finer label maps, the others read them
        found = make_sources(config, self.geometry, self.maps, position, device=device, report=self.report)
        if self.workers.first:
            self.workers.wait()
        return found

    def validate(self, sources: Sources, position: int, log: _Log) -> dict[str, float]:
        """Return the scores of a level on every set, as ``tissues`` or ``<set>/tissues``."""
        config, values = self.config, {}
        for name, (samples, n) in sources.validation.items():
            source = PairSource(self.network, position, samples, None, bfloat16=config.autocasts)
            scores = score(
                source.draw,
                self.network.level(position),
                n,
                bfloat16=config.autocasts,
                workers=self.workers,
                first_seed=0 if name else VALIDATION_SEED,
                show=log.show(name) if config.pictures and self.workers.first else None,
            ).summary()
            prefix = f"{name}/" if name else ""
            values.update({f"{prefix}{key}": value for key, value in scores.items()})
        return values

    def _log(self, name: str) -> _Log:
        return _Log(self.config.out / "tensorboard", name, self.report, active=self.workers.first)


class _Log:
    """Curves and pictures for TensorBoard, lines for the terminal."""

    def __init__(self, folder: Path, stage: str, report: Report, *, active: bool) -> None:
        self.folder, self.stage, self.report, self.active = folder, stage, report, active
        self.writer: SummaryWriter | None = None
        self.pictures: dict[str, Any] = {}

    def __enter__(self) -> _Log:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder))
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def __call__(self, step: int, values: dict[str, float]) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{self.stage}/{name}", value, step)
            for name, image in self.pictures.items():
                self.writer.add_image(f"{self.stage}/{name or 'synthetic'}", image, step, dataformats="HWC")
            self.pictures = {}
        shown = {name: value for name, value in values.items() if not (name == "skipped" and not value)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self.report(f"{time.strftime('%H:%M:%S')} {self.stage} step {step}: {text}")

    def show(self, name: str) -> Callable[[Any, torch.Tensor], None]:
        """Return a callback that keeps the picture of a set's first example until its step is known."""

        def keep(pair: Any, predicted: torch.Tensor) -> None:
            self.pictures[name] = picture(pair, predicted)

        return keep
