"""Model zoo: cards, verified weights and networks of models, by name or from a model file.

A card is `resources/models/<name>.json`. Weights are beside it in the package or in the cache, or are downloaded; their
SHA-256 is verified before they are parsed. A model file is a .safetensors that contains its card.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lodbrain.errors import InputError, UsageError, WeightsError
from lodbrain.models.card import Card as Card
from lodbrain.models.card import members as members
from lodbrain.system.atomic import write_bytes, write_text
from lodbrain.system.download import Remote, cache_folder, download
from lodbrain.system.hashing import sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn

MODELS = Path(__file__).resolve().parents[1] / "resources" / "models"
#: Key of the card in a safetensors file's metadata.
METADATA_KEY = "lodbrain"
#: Largest accepted model file; the default model has 8 MB.
MAX_FILE_BYTES = 2**30


def cards() -> dict[str, Card]:
    """Return the cards of all named models, by name.

    Examples
    --------
    >>> cards()["lod-brain-2024"].parameters
    337719
    """
    found = (Card.from_json(path.read_text(encoding="utf-8"), path) for path in sorted(MODELS.glob("*.json")))
    return {card.name: card for card in found}


def card(name: str) -> Card:
    """Return the card of a named model.

    Raises
    ------
    UsageError
        If there is no such model.
    """
    known = cards()
    if name not in known:
        raise UsageError("model", None, f"there is no model named {name!r}", f"Known: {', '.join(known)}")
    return known[name]


def cache_path(card: Card) -> Path:
    """Return the path of a model's file in the cache, $LODBRAIN_CACHE/<name>/<file>, whether or not it exists."""
    return cache_folder(card.name) / card.file


def locate(card: Card) -> Path | None:
    """Return a model's weights file in the package or the cache; None if it has to be downloaded."""
    return next((path for path in (MODELS / card.file, cache_path(card)) if path.is_file()), None)


def fetch(card: Card) -> Path:
    """Return a model's weights file, downloaded into the cache if it is missing.

    A downloaded file is verified; an existing file is verified only by `read_verified`. Downloads are retried after
    connection errors, HTTP 429 and 5xx, but not after other HTTP errors.

    Raises
    ------
    WeightsError
        ``"missing"`` if it cannot be downloaded; the error names the file, its place in the cache and its source.
    OutputError
        If the cache cannot be written.
    """
    found = locate(card)
    if found is not None:
        return found
    path = cache_path(card)
    hint = f"Put {card.file} there" + (f"; it comes from {card.url}" if card.url else "")
    if not card.url:
        raise WeightsError("missing", path, f"the weights of {card.name} are not here", hint)
    remote = Remote(path.name, card.url, f"sha256:{card.sha256}")
    try:
        return download(remote, path.parent)
    except (InputError, WeightsError) as error:
        raise WeightsError("missing", path, f"the weights of {card.name}: {error.what}", hint) from error


def read_verified(card: Card, path: Path) -> bytes:
    """Return the bytes of a model's file after verifying their SHA-256 against the card.

    Raises
    ------
    WeightsError
        ``"sha256"`` if it differs; ``"missing"`` if the file cannot be read.
    """
    data = _read(path)
    if sha256_of(data) != card.sha256:
        what = f"is not the file of {card.name}: SHA-256 {sha256_of(data)}, wanted {card.sha256}"
        raise WeightsError("sha256", path, what, f"Delete it, then: lodbrain models get {card.name}")
    return data


def load(name_or_file: str | os.PathLike[str]) -> tuple[Card, nn.Module]:
    """Return a model's card, with its file's SHA-256, and its network with verified weights, in eval mode on the CPU.

    Parameters
    ----------
    name_or_file : str or PathLike
        A name in `cards()`, or a model file (.safetensors with its card). A name takes precedence over a file of the
        same name.

    Raises
    ------
    WeightsError
        If weights are missing, do not match the card, or have a format that is not accepted.
    UsageError
        If there is no model of that name and the name does not look like a file's.
    """
    from lodbrain.models import weights

    name = os.fspath(name_or_file)
    known = cards()
    if name not in known and (Path(name).suffix or os.sep in name):
        path = Path(name)
        data = _read(path)
        weights.refuse_pickle(path, data)
        tensors, metadata = weights.read_safetensors(data, path)
        if METADATA_KEY not in metadata:
            raise WeightsError(
                "card", path, "carries no model card", "Only model files that lodbrain wrote can be used"
            )
        its_card = dataclasses.replace(Card.from_json(metadata[METADATA_KEY], path), sha256=sha256_of(data))
        network = _build(its_card, path, len(data))
    else:
        its_card = card(name)
        if members(its_card):
            return _load_consensus(its_card)
        path = fetch(its_card)
        data = read_verified(its_card, path)
        network = _build(its_card, path, len(data))
        tensors, _ = weights.read_safetensors(data, path)
    weights.fill(network, tensors, path)
    return its_card, network.eval()


def _load_consensus(its_card: Card) -> tuple[Card, nn.Module]:
    """Return the card of a consensus, with a hash over its members, and its network."""
    from lodbrain.models.consensus import Consensus
    from lodbrain.models.lod import Ladder
    from lodbrain.models.lod_brain_2024 import LodBrain2024

    shares = members(its_card)
    (first, ladder), (second, other) = (load(name) for name in shares)
    if not isinstance(ladder, Ladder) or not isinstance(other, LodBrain2024):
        what = f"the members of {its_card.name} must be a ladder and LOD-Brain's network, got {', '.join(shares)}"
        raise WeightsError("card", None, what)
    text = "".join(f"{card.sha256} {share}\n" for card, share in zip((first, second), shares.values(), strict=True))
    digest = sha256_of(text.encode())
    network = Consensus(ladder, other, shares[second.name], first.calibration)
    return dataclasses.replace(its_card, sha256=digest), network.eval()


def file_name(card: Card) -> str:
    """Return the name of the file that a changed model is saved in; a consensus has a card only."""
    return f"{card.name}.{'json' if members(card) else 'safetensors'}"


def save_again(folder: str | os.PathLike[str], card: Card, network: nn.Module) -> None:
    """Write a model whose card has changed, as `file_name` in a folder.

    Parameters
    ----------
    network : torch.nn.Module
        Of a consensus only the card is written, since its members have files of their own.
    """
    if members(card):
        write_text(Path(folder) / file_name(card), card.to_json() + "\n")
    else:
        card = dataclasses.replace(card, file=file_name(card))
        save_with_card(Path(folder) / card.file, card, network.state_dict())


def save_with_card(path: str | os.PathLike[str], card: Card, state_dict: Mapping[str, Tensor]) -> Card:
    """Write a model file in half precision and, beside it, its card with the file's SHA-256, as in `resources/models`.

    Parameters
    ----------
    path : str or PathLike
        Path of the model file, ending in .safetensors. The card has the same name with .json.
    """
    _, digest = save(path, card, halved(state_dict))
    card = dataclasses.replace(card, sha256=digest)
    write_text(Path(path).with_suffix(".json"), card.to_json() + "\n")
    return card


def halved(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights in half precision, as models are stored; integer tensors are unchanged."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state_dict.items()}


def save(path: str | os.PathLike[str], card: Card, state_dict: Mapping[str, Tensor]) -> tuple[int, str]:
    """Write a model file, a .safetensors that contains its card, atomically.

    Parameters
    ----------
    path : str or PathLike
        Ends in .safetensors.
    card : Card
        Written without its SHA-256, which a file cannot contain itself.

    Returns
    -------
    int, str
        Size in bytes and SHA-256 of the file, for the card beside it.
    """
    from safetensors.torch import save as to_bytes

    target = Path(path)
    if target.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {target}")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    data = to_bytes(tensors, {METADATA_KEY: dataclasses.replace(card, sha256="").to_json()})
    write_bytes(target, data)
    return len(data), sha256_of(data)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WeightsError("format", path, f"is larger than any model ({path.stat().st_size} bytes)")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError("missing", path, f"the model file cannot be read ({error.strerror})") from error


def _build(card: Card, path: Path, size: int) -> nn.Module:
    """Return the network of a card, after checking that it matches its file of `size` bytes.

    A card can come from any source, and its config may require any amount of memory, so the network is first built
    without allocating memory.
    """
    import torch

    from lodbrain.models.registry import REGISTRY

    if card.architecture not in REGISTRY:
        what = f"the model's architecture {card.architecture!r} is unknown"
        raise WeightsError("card", path, what, "A newer lodbrain may know it")
    build = REGISTRY[card.architecture].build
    try:
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in build(card.config).parameters())
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        what = f"the card's config fits no network of {card.architecture}: {error}"
        raise WeightsError("card", path, what) from error
    if parameters != card.parameters:
        what = f"the card says {card.parameters} parameters, its config gives {parameters}"
        raise WeightsError("card", path, what)
    if parameters > size:
        what = f"the card says {parameters} parameters, its file has {size} bytes"
        raise WeightsError("card", path, what)
    return build(card.config)
