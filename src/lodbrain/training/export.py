"""Model file of a run: weights in half precision, with their card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder
from lodbrain.models.registry import Plain
from lodbrain.training.config import TrainingConfig
from lodbrain.training.stage import Outcome


def export(network: Ladder | Plain, config: TrainingConfig, outcomes: dict[str, Outcome], count: int) -> Path:
    """Write the model file of the first `count` levels and, beside it, its card with the SHA-256; return its path.

    The two files have the form of `resources/models`. Half precision does not lower the Dice.
    """
    path = config.out / f"{config.name}.safetensors"
    options: dict[str, Any]
    if isinstance(network, Ladder):
        options = {"levels": [level.to_row() for level in network.configs[:count]]}
        wanted = Ladder(network.configs[:count]).state_dict()
        state = {name: value for name, value in network.state_dict().items() if name in wanted}
    else:
        inner = network.level(0).network
        options, state = dict(config.options), inner.state_dict()
        options.setdefault("classes", 33)
    trainable = {name for name, _ in network.named_parameters()}
    parameters = sum(
        value.numel() for name, value in state.items() if name in trainable or f"levels.0.network.{name}" in trainable
    )
    card = Card(
        name=config.name,
        architecture=config.architecture,
        labels="structures",
        config=options,
        file=path.name,
        sha256="",
        url="",
        licence=config.licence,
        citation=config.citation,
        description=config.description,
        parameters=parameters,
        training={
            "data": config.data,
            "maps": list(config.train),
            "start": None if config.start is None else Path(config.start).name,  # no machine's path
            "start_share": config.start_share,
            "steps": {name: outcome.steps for name, outcome in outcomes.items()},
            "skipped_steps": sum(outcome.skipped for outcome in outcomes.values()),
            "batch": config.batch * config.accumulate,
            "seed": config.seed,
        },
    )
    zoo.save_with_card(path, card, state)
    return path
