"""Settings of a segmentation, and its model and device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from lodbrain.errors import UsageError
from lodbrain.labels import TABLES, Scheme
from lodbrain.system.hashing import sha256
from lodbrain.system.threads import check_threads

if TYPE_CHECKING:
    import torch

    from lodbrain.models.zoo import Card


@dataclass(frozen=True)
class Settings:
    """Settings of a segmentation.

    Attributes
    ----------
    labels : {"structures", "tissue", "brain"}
        Scheme of the output labels.
    model : str
        Name in the zoo, or a model file.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ... or ``"mps"``.
    memory_bytes : int or None
        Memory budget; None for the free memory minus a margin.
    threads : int or None
        Number of CPU threads; None for torch's default.
    posteriors : bool
        Give the posteriors, too.
    tissue_maps : bool
        Give brain mask and maps of grey matter, white matter and CSF, too.
    report : bool
        Write what only a page needs, too: where the members of a consensus see different tissues.
    frame : int or None
        Volume of a 4D file, from 0.
    allow_odd_voxels : bool
        Whether to accept voxel sides outside 0.1 to 10 mm.
    postprocess : bool
        Whether to keep only one connected component of each structure, see `lodbrain.inference.postprocess`.
    resume : bool
        Whether to skip scans with complete outputs and segment the others again. Complete outputs of another input,
        model or settings are an error.
    overwrite : bool
        Whether to replace existing outputs.
    """

    labels: Scheme = "structures"
    model: str = "default"
    device: str = "auto"
    memory_bytes: int | None = None
    threads: int | None = None
    posteriors: bool = False
    tissue_maps: bool = False
    report: bool = False
    frame: int | None = None
    allow_odd_voxels: bool = False
    postprocess: bool = True
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", os.fspath(self.model))
        if not isinstance(self.labels, str) or self.labels not in TABLES:
            raise ValueError(f"labels must be one of {', '.join(TABLES)}, got {self.labels!r}")
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite exclude each other: one keeps what is complete, one replaces it")
        for name, least in (("memory_bytes", 1), ("threads", 1), ("frame", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded network.

    Attributes
    ----------
    network : torch.nn.Module
        On the CPU, in eval mode.
    device : str
        Device to run on.
    sha256 : str
        SHA-256 of the weights file.
    """

    card: Card
    network: torch.nn.Module
    device: str
    sha256: str


def check_model(settings: Settings) -> None:
    """Check the settings against the model's card, without loading weights.

    Raises
    ------
    UsageError
        If structures or their tissues are requested from a model of tissue classes.
    """
    from lodbrain.models import zoo

    card = zoo.cards().get(settings.model)
    if card is not None:
        _check_labels(card, settings)


def load_model(settings: Settings) -> Model:
    """Return the model named in the settings, with verified weights.

    Raises
    ------
    UsageError
        If the model is unknown or does not provide these labels, or the device is not available; in a forked process,
        if several threads are requested.
    WeightsError
        If the weights are missing or do not match the card.
    """
    from lodbrain.models import zoo
    from lodbrain.models.registry import REGISTRY

    check_threads(settings.threads)
    check_model(settings)
    device = choose_device(settings.device)
    card, network = zoo.load(settings.model)
    if card.architecture in REGISTRY and not REGISTRY[card.architecture].segments:
        what = f"has the architecture {card.architecture}, which is for comparisons only"
        raise UsageError("model", settings.model, what, "Use a ladder, such as --model default")
    _check_labels(card, settings)
    # a card inside a weights file cannot hold that file's hash
    return Model(card, network, device, card.sha256 or sha256(Path(settings.model)))


def choose_device(name: str = "auto") -> str:
    """Return the device to compute on; ``"auto"`` is CUDA if available, else Apple's MPS, else the CPU.

    Raises
    ------
    UsageError
        If the device is unknown or not available.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, available in there.items() if available)
    kind, _, number = name.partition(":")
    if kind not in there or (number and not (kind == "cuda" and number.isdigit())):
        raise UsageError("device", None, f"there is no device {name!r}", "Choose auto, cpu, cuda or mps")
    if not there[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise UsageError("device", None, f"device {name} is not available here", "Use --device auto or cpu")
    return name


def _check_labels(card: Card, settings: Settings) -> None:
    if card.labels != "structures" and settings.labels == "structures":
        what = f"model {card.name} gives six tissue classes, not structures"
        raise UsageError("labels", None, what, "Use --labels tissue or --labels brain, or another --model")
    if card.labels != "structures" and settings.tissue_maps:
        what = f"model {card.name} gives no CSF, which maps of tissues for sMRIPrep need"
        raise UsageError("labels", None, what, "Use another --model, or leave out --for")
