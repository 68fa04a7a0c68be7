"""`lodbrain models`: list, show, verify, get and export models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table

from lodbrain.commands.parameters import Flag, Out
from lodbrain.errors import UsageError, WeightsError
from lodbrain.models import zoo

app = App(name="models")


@app.command(name="list")
def list_models() -> int:
    """List the named models."""
    table = Table("name", "labels", "parameters", "licence", "weights", box=None, pad_edge=False, header_style="bold")
    for card in zoo.cards().values():
        table.add_row(card.name, card.labels, f"{card.parameters:,}", card.licence, _state(card))
    Console(highlight=False, markup=False).print(table)
    return 0


@app.command
def show(name: str) -> int:
    """Show a model's card: labels, licence, training, measured Dice, and location of its weights.

    Parameters
    ----------
    name
        Use the model with this name from `lodbrain models list`.
    """
    card = zoo.card(name)
    rows = {
        "name": card.name,
        "what": card.description,
        "architecture": card.architecture,
        "labels": card.labels,
        "parameters": f"{card.parameters:,}",
        **_origin(card),
        "licence": card.licence,
        "cite": card.citation,
        **_flat("training", card.training),
        **_flat("dice", card.dice),
    }
    width = max(map(len, rows))
    for key, value in rows.items():  # not a rich table, which would wrap hashes and addresses
        print(f"{key:{width}}  {value}")
    return 0


@app.command
def verify(name: str | None = None) -> int:
    """Check the SHA-256 of weights on disk; the exit status is 5 if one is wrong.

    Parameters
    ----------
    name
        Check this model, whose weights must be on disk. Default: every model with weights on disk.
    """
    wrong: WeightsError | None = None
    for card in zoo.cards().values() if name is None else _networks(zoo.card(name)):
        if zoo.members(card):  # members are in the list themselves
            continue
        path = zoo.locate(card)
        if path is None:
            if name is not None:
                what, hint = f"the weights of {card.name} are not here", f"Get them: lodbrain models get {name}"
                raise WeightsError("missing", zoo.cache_path(card), what, hint)
            print(f"{card.name}: not downloaded")
            continue
        try:
            zoo.read_verified(card, path)
            print(f"{card.name}: ok, {path}")
        except WeightsError as error:
            print(f"{card.name}: WRONG, {path}")
            wrong = wrong or error
    if wrong is not None:
        raise wrong
    return 0


@app.command
def get(name: str) -> int:
    """Download missing weights of a model into the cache, and verify them.

    Parameters
    ----------
    name
        Use the model with this name from `lodbrain models list`.
    """
    for card in _networks(zoo.card(name)):
        path = zoo.fetch(card)
        zoo.read_verified(card, path)
        print(path)
    return 0


@app.command
def export(name: str, *, out: Out, onnx: Flag = False) -> int:
    """Export a ladder as ONNX: one graph per level, and a JSON card with all constants.

    Parameters
    ----------
    name
        Export this model: a name from `lodbrain models list`, or a model file.
    out
        Write the files to this folder; files of the same names are replaced.
    onnx
        Write ONNX. This option is required, since there is no other format.
    """
    if not onnx:
        raise UsageError("format", None, "the format to export is missing", "Add --onnx")
    from lodbrain.segmentation.onnx_export import export_onnx

    for path in export_onnx(name, out):
        print(path)
    return 0


def _networks(card: zoo.Card) -> list[zoo.Card]:
    """Return the cards that have weights: the members of a consensus, else the card itself."""
    return [zoo.card(name) for name in zoo.members(card)] or [card]


def _origin(card: zoo.Card) -> dict[str, str]:
    """Return where a model's weights, or those of a consensus's members, are stored and come from."""
    if shares := zoo.members(card):
        return {
            f"member {n}": f"{name}, weight {weight:g}, {zoo.card(name).sha256}"
            for n, (name, weight) in enumerate(shares.items(), 1)
        }
    return {
        "weights": str(zoo.locate(card) or f"not here yet: lodbrain models get {card.name}"),
        "sha256": card.sha256,
        "from": card.url or "the package",
    }


def _state(card: zoo.Card) -> str:
    if shares := zoo.members(card):
        return " and ".join(shares)
    path = zoo.locate(card)
    if path is None:
        return "to be downloaded"
    return "in the package" if path.parent == zoo.MODELS else "in the cache"


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested tables as one level of rows: ``training data``, ``dice swm grey matter``."""
    rows: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flat(f"{prefix} {key}", value)
        else:
            rows[f"{prefix} {key}"] = str(value)
    return rows
