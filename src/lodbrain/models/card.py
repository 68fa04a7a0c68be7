"""Model card: architecture, source of the weights, licence and measured Dice, as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lodbrain.errors import WeightsError

#: Optional fields of a card.
_OPTIONAL = ("training", "dice", "calibration", "quality")


@dataclasses.dataclass(frozen=True)
class Card:
    """Description of a model: architecture, source of the weights, licence and measurements.

    Attributes
    ----------
    name : str
        Name in the zoo.
    architecture : str
        A key of `lodbrain.models.registry.REGISTRY`.
    labels : {"structures", "tissue"}
        Label table; the network's classes are positions in it.
    config : dict
        Arguments of the architecture.
    file : str
        File name of the weights.
    sha256 : str
        SHA-256 of that file; empty in the card inside a weights file.
    url : str
        Download URL of the file; empty if there is none.
    licence, citation, description : str
        Licence of the weights; citation; description in one or two sentences.
    parameters : int
        Number of learned values.
    training, dice, calibration, quality : dict
        Training procedure; measured Dice by dataset and structure; temperatures and volume intervals, see
        `lodbrain.inference.calibration`; fit of predicted Dice, see `lodbrain.segmentation.predicted_dice`.
    """

    name: str
    architecture: str
    labels: Literal["structures", "tissue"]
    config: dict[str, Any]
    file: str
    sha256: str
    url: str
    licence: str
    citation: str
    description: str
    parameters: int
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    dice: dict[str, Any] = dataclasses.field(default_factory=dict)
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    quality: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: Path) -> Card:
        """Return the card in a JSON text; fields unknown to this version are ignored.

        Raises
        ------
        WeightsError
            ``"card"`` if the text is not a card; the error names `path` and the first invalid field.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError("card", path, f"the model's card is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise WeightsError("card", path, "the model's card is not a JSON object")
        given: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            kind = {"parameters": int, "config": dict, **dict.fromkeys(_OPTIONAL, dict)}.get(field.name, str)
            if field.name not in values and field.name in _OPTIONAL:
                continue
            if not isinstance(values.get(field.name), kind):
                raise WeightsError("card", path, f"the model's card lacks a {kind.__name__} named {field.name!r}")
            given[field.name] = values[field.name]
        if given["labels"] not in ("structures", "tissue"):
            what = f"the model's card has labels {given['labels']!r}, not structures or tissue"
            raise WeightsError("card", path, what)
        for entry in ("name", "file"):
            # These become paths in the cache, and a card can come with a file from any source.
            if given[entry].startswith(".") or set(given[entry]) & set("/\\\0"):
                what = f"the model's card has the {entry} {given[entry]!r}, which is not a plain file name"
                raise WeightsError("card", path, what)
        return cls(**given)


#: Architecture in the card of a consensus.
CONSENSUS = "consensus"


def read_members(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the members of a consensus and their weights, by name, the ladder first.

    Parameters
    ----------
    config : mapping
        From the card: ``{"members": ["default", "lod-brain-2024"], "weights": [0.5, 0.5]}``.

    Raises
    ------
    ValueError
        If there are not exactly two members, or the weights are not above 0 with a sum of 1.

    Examples
    --------
    >>> read_members({"members": ["default", "lod-brain-2024"], "weights": [0.25, 0.75]})
    {'default': 0.25, 'lod-brain-2024': 0.75}
    """
    names = [str(name) for name in config["members"]]
    weights = [float(weight) for weight in config["weights"]]
    if len(set(names)) != 2 or len(weights) != 2 or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"members must be two, with weights above 0 that add up to 1, got {names} and {weights}")
    return dict(zip(names, weights, strict=True))


def members(card: Card) -> dict[str, float]:
    """Return the members of a consensus and their weights, by name; empty if the model is a single network.

    Raises
    ------
    WeightsError
        ``"card"`` if its config does not name two members.

    Examples
    --------
    >>> from lodbrain.models import zoo
    >>> members(zoo.card("accurate"))
    {'default': 0.5, 'lod-brain-2024': 0.5}
    >>> members(zoo.card("default"))
    {}
    """
    if card.architecture != CONSENSUS:
        return {}
    try:
        return read_members(card.config)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError("card", None, f"the card of {card.name} names no members: {error!r}") from None
