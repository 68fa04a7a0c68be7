"""Label maps of a run, prepared for synthesis, and a disk cache of finer versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.errors import InputError
from lodbrain.labelmaps.upsample import upsample
from lodbrain.synthesis.label_map import CODES_VERSION, LabelMap, load
from lodbrain.synthesis.walls import Walls, measure, set_walls
from lodbrain.system.atomic import atomic
from lodbrain.training.config import TrainingConfig

#: Version of the cache files. Increase it when the content changes, such as the walls or the smoothing.
_FORMAT = 2


def load_maps(config: TrainingConfig, report: Callable[[str], None]) -> dict[str, LabelMap]:
    """Return the prepared label maps of a configuration, by name.

    Raises
    ------
    InputError
        If a file is missing, or is not a label map.
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
    """Return a label map, prepared once per process because that takes seconds; it is never modified."""
    return load(path)


class FineMaps(Mapping[str, LabelMap]):
    """Finer versions of label maps, on disk, by name.

    On the CPU a map is opened for each access and released with the samples made from it: otherwise the pages of all
    maps would count as the process's memory, 0.13 GB per head at 0.5 mm. On an accelerator opened maps are kept.
    """

    def __init__(self, maps: Mapping[str, LabelMap], folder: Path, voxel_mm: float) -> None:
        self.maps, self.folder, self.voxel_mm = maps, folder, voxel_mm
        self._kept: dict[str, LabelMap] = {}

    def __getitem__(self, name: str) -> LabelMap:
        if name in self._kept:
            return self._kept[name]
        labels, factor = self.maps[name], self._factor(name)
        if factor == 1:
            return labels
        device = labels.codes.device
        with safe_open(self._file(name), framework="pt") as file:
            codes, distance = (file.get_tensor(key).to(device) for key in ("codes", "distance"))
            fine = replace(labels, codes=codes, distance=distance, spacing_mm=labels.spacing_mm / factor)
            set_walls(fine, _walls_in(file, device))
        if device.type != "cpu":
            self._kept[name] = fine
        return fine

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def make(self, report: Callable[[str], None]) -> None:
        """Write the cache files that are missing, or were made from another map or by another version."""
        self.folder.mkdir(parents=True, exist_ok=True)
        origins = {name: _origin(labels, self._factor(name)) for name, labels in self.maps.items()}
        todo = [
            (name, self._file(name), origin)
            for name, origin in origins.items()
            if self._factor(name) > 1 and _origin_in(self._file(name)) != origin
        ]
        for number, (name, path, origin) in enumerate(todo, 1):
            report(f"upsampling {name} to {self.voxel_mm:g} mm ({number} of {len(todo)})")
            fine = upsample(self.maps[name].to("cpu"), self._factor(name))
            _write(path, fine, origin)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _factor(self, name: str) -> int:
        return max(1, round(float(self.maps[name].spacing_mm.mean()) / self.voxel_mm))


def _origin(labels: LabelMap, factor: int) -> str:
    """Return a digest of a finer map's source and parameters."""
    versions, shape = f"{_FORMAT} {CODES_VERSION}", tuple(labels.codes.shape)
    digest = sha256(f"{versions} {factor} {labels.spacing_mm.tolist()} {shape}".encode())
    for volume in (labels.codes, labels.distance):
        digest.update(volume.cpu().numpy().tobytes())
    return digest.hexdigest()


def _origin_in(path: Path) -> str | None:
    """Return the digest stored in a file; None if no file can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("origin")
    except (OSError, SafetensorError):
        return None


def _write(path: Path, fine: LabelMap, origin: str) -> None:
    """Write a finer map and its ventricles' walls, which take a second to compute."""
    tensors, about = {"codes": fine.codes, "distance": fine.distance}, {"origin": origin}
    walls = measure(fine)
    if walls is not None:
        tensors |= {"walls.rank": walls.rank, "walls.outer": walls.outer}
        about["walls"] = json.dumps({"start": [part.start for part in walls.box], "least": walls.least})
    with atomic(path) as temporary:
        save_file(tensors, temporary, about)


def _walls_in(file: Any, device: torch.device) -> Walls | None:
    about = json.loads(file.metadata().get("walls", "null"))
    if about is None:
        return None
    rank, outer = (file.get_tensor(f"walls.{key}").to(device) for key in ("rank", "outer"))
    x, y, z = (slice(start, start + n) for start, n in zip(about["start"], rank.shape, strict=True))
    return Walls((x, y, z), rank, outer, about["least"])


def fine_maps(
    config: TrainingConfig, maps: Mapping[str, LabelMap], voxel_mm: float | None, report: Callable[[str], None]
) -> Mapping[str, LabelMap]:
    """Return smooth versions of the maps at a finer voxel size, computed once and cached on disk.

    The cache is beside the run, or in the folder `fine_labelmaps` of the configuration. With a voxel size of None, the
    maps themselves are returned.
    """
    if voxel_mm is None:
        return maps
    fine = FineMaps(maps, (config.fine_labelmaps or config.out) / f"labelmaps_{voxel_mm:g}mm", voxel_mm)
    fine.make(report)
    return fine
