"""A whole training run: label maps in, a model file with its card out; repeatable with one command."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.tensorboard import SummaryWriter

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.errors import InputError
from lodbrain.images.atomic import atomic
from lodbrain.inference.settings import choose_device
from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder
from lodbrain.synthesis.labelmaps import LabelMap, load
from lodbrain.synthesis.upsample import upsample
from lodbrain.training.config import TrainingConfig
from lodbrain.training.loop import build_ladder, load_trained_levels, make_source, train_level


def train(
    config: TrainingConfig, *, report: Callable[[str], None] = lambda line: None, stop_after: int | None = None
) -> Path:
    """Train every level of a configuration and write the model file.

    A run that was killed goes on from its checkpoints; a level that is complete is not trained again.

    Parameters
    ----------
    config : TrainingConfig
    report : callable(str)
        Called with a line of progress.
    stop_after : int or None
        Number of levels to train in this call; None for all.

    Returns
    -------
    Path
        The model: a safetensors file that carries its card.

    Raises
    ------
    InputError
        If a label map that the configuration names is not there.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    maps = {name: map.to(device) for name, map in load_maps(config, report).items()}
    ladder = build_ladder(config).to(device)
    config.out.mkdir(parents=True, exist_ok=True)
    count = len(config.levels) if stop_after is None else min(stop_after, len(config.levels))
    with SummaryWriter(str(config.out / "tensorboard")) as writer:
        for position in range(count):
            settings = config.levels[position]
            fine = {name: map.to(device) for name, map in fine_maps(config, maps, settings.labelmap_mm, report).items()}
            load_trained_levels(ladder, config, position)
            for above in range(position):
                ladder.level(above).eval().requires_grad_(False)
            sources = [
                make_source(
                    ladder, position, config, [maps[n] for n in names], [fine[n] for n in names], training=training
                )
                for names, training in ((config.train, True), (config.validate_on, False))
            ]
            ladder.level(position).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

            def log(step: int, values: dict[str, float], exponent: int = settings.exponent) -> None:
                for name, value in values.items():
                    writer.add_scalar(f"level{exponent:+d}/{name}", value, step)
                text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
                report(f"{time.strftime('%H:%M:%S')} level {exponent:+d} step {step}: {text}")

            train_level(ladder, position, config, (sources[0], sources[1]), log=log)
    return export(ladder, config, count)


def load_maps(config: TrainingConfig, report: Callable[[str], None]) -> dict[str, LabelMap]:
    """The label maps that a configuration names, prepared, by name.

    Raises
    ------
    InputError
        If one is missing, or is no label map.
    """
    paths = {path.name.split(".nii")[0]: path for path in find_labelmaps(config.labelmaps)}
    wanted = (*config.train, *config.validate_on)
    missing = [name for name in wanted if name not in paths]
    if missing:
        raise InputError(
            "missing", missing[0], "this label map of the configuration is not there", "run `lodbrain fetch labelmaps`"
        )
    report(f"reading {len(wanted)} label maps")
    return {name: load(paths[name]) for name in wanted}


def fine_maps(
    config: TrainingConfig, maps: dict[str, LabelMap], voxel_mm: float | None, report: Callable[[str], None]
) -> dict[str, LabelMap]:
    """Smooth versions of the maps at a finer voxel size, kept beside the run since they take half a minute each.

    With a voxel size of None the maps themselves.
    """
    if voxel_mm is None:
        return maps
    folder = config.out / f"labelmaps_{voxel_mm:g}mm"
    folder.mkdir(parents=True, exist_ok=True)
    out = {}
    for name, labels in maps.items():
        factor = round(float(labels.spacing_mm.mean()) / voxel_mm)
        path = folder / f"{name}.safetensors"
        if not path.exists():
            report(f"upsampling {name} to {voxel_mm:g} mm")
            fine = upsample(labels.to("cpu"), factor)
            with atomic(path) as temporary:
                save_file({"codes": fine.codes, "distance": fine.distance}, temporary)
        with safe_open(path, framework="pt") as file:
            out[name] = replace(
                labels,
                codes=file.get_tensor("codes"),
                distance=file.get_tensor("distance"),
                spacing_mm=labels.spacing_mm / factor,
            )
    return out


def export(ladder: Ladder, config: TrainingConfig, count: int) -> Path:
    """Write the model file of the trained levels, and its card with the file's SHA-256 beside it.

    The two files are what `resources/models` holds. Half precision: weights of 32 bits carry no more Dice than of 16.

    Parameters
    ----------
    ladder : Ladder
    config : TrainingConfig
    count : int
        Number of levels that are trained, from the coarsest: the others are left out.

    Returns
    -------
    Path
        Of the safetensors file.
    """
    trained = Ladder(ladder.configs[:count])
    trained.load_state_dict(
        {name: value for name, value in ladder.state_dict().items() if name in trained.state_dict()}
    )
    levels = config.levels[:count]
    path = config.out / f"{config.name}.safetensors"
    card = Card(
        name=config.name,
        architecture="lod",
        labels="structures",
        config={
            "levels": [{"exponent": row.exponent, "channels": list(row.channels), "sided": row.sided} for row in levels]
        },
        file=path.name,
        sha256="",
        url="",
        licence=config.licence,
        citation=config.citation,
        description=config.description,
        parameters=sum(p.numel() for p in trained.parameters()),
        training={
            "data": config.data,
            "maps": list(config.train),
            "steps_per_level": [level.steps for level in levels],
            "batch": config.batch,
            "seed": config.seed,
        },
    )
    state = {name: value.half() if value.is_floating_point() else value for name, value in trained.state_dict().items()}
    _, sha256 = zoo.save(path, card, state)
    with atomic(path.with_suffix(".json")) as temporary:
        temporary.write_text(replace(card, sha256=sha256).to_json() + "\n", encoding="utf-8")
    return path
