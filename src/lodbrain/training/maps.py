"""The label maps of a run, prepared, and finer versions of them that are made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.errors import InputError
from lodbrain.images.atomic import atomic
from lodbrain.synthesis.labelmaps import LabelMap, load
from lodbrain.synthesis.upsample import upsample
from lodbrain.training.config import TrainingConfig


def load_maps(config: TrainingConfig, report: Callable[[str], None]) -> dict[str, LabelMap]:
    """The label maps that a configuration names, prepared, by name.

    Raises
    ------
    InputError
        If one is missing, or is no label map.
    """
    wanted = (*config.train, *config.validate_on)
    if not wanted:
        return {}
    paths = {path.name.split(".nii")[0]: path for path in find_labelmaps(config.labelmaps)}
    missing = [name for name in wanted if name not in paths]
    if missing:
        raise InputError(
            "missing", missing[0], "this label map of the configuration is not there", "run `lodbrain fetch labelmaps`"
        )
    report(f"reading {len(wanted)} label maps")
    return {name: _load(paths[name], paths[name].stat().st_mtime_ns) for name in wanted}


@lru_cache(maxsize=40)
def _load(path: Path, changed_ns: int) -> LabelMap:
    """A label map, prepared once for all runs of a process: it takes seconds, and is never changed."""
    return load(path)


def fine_maps(
    config: TrainingConfig, maps: dict[str, LabelMap], voxel_mm: float | None, report: Callable[[str], None]
) -> dict[str, LabelMap]:
    """Smooth versions of the maps at a finer voxel size, kept on disk since they take half a minute each.

    They lie beside the run, or in the folder `fine_labelmaps` of the configuration. With a voxel size of None, the maps
    themselves.
    """
    if voxel_mm is None:
        return maps
    folder = (config.fine_labelmaps or config.out) / f"labelmaps_{voxel_mm:g}mm"
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _finer(labels, folder / f"{name}.safetensors", voxel_mm, report) for name, labels in maps.items()}


def _finer(labels: LabelMap, path: Path, voxel_mm: float, report: Callable[[str], None]) -> LabelMap:
    factor = max(1, round(float(labels.spacing_mm.mean()) / voxel_mm))
    if factor == 1:
        return labels
    if not path.exists():
        report(f"upsampling {path.name.split('.')[0]} to {voxel_mm:g} mm")
        fine = upsample(labels.to("cpu"), factor)
        with atomic(path) as temporary:
            save_file({"codes": fine.codes, "distance": fine.distance}, temporary)
    with safe_open(path, framework="pt") as file:
        return replace(
            labels,
            codes=file.get_tensor("codes").to(labels.codes.device),
            distance=file.get_tensor("distance").to(labels.codes.device),
            spacing_mm=labels.spacing_mm / factor,
        )
