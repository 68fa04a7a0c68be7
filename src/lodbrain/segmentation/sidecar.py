"""JSON sidecar of a result: provenance, grid, notes, quality and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lodbrain.errors import shown
from lodbrain.images.image import Image
from lodbrain.labels import Label
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Model, Settings
from lodbrain.system.hashing import sha256
from lodbrain.system.memory import MEBIBYTE, peak_mib
from lodbrain.version import __version__

#: Settings that the result depends on; resume compares them.
_SETTINGS = ("labels", "posteriors", "frame", "allow_odd_voxels", "postprocess")


def made_from(path: Path, model: Model, settings: Settings) -> Json:
    """Return the model, settings and input of a result: the fields of a sidecar that resume compares.

    Only the input's name is recorded, because folder names may identify the participant.
    """
    return {
        "model": {"name": model.card.name, "sha256": model.sha256},
        "settings": {key: getattr(settings, key) for key in _SETTINGS},
        "input": {"name": shown(path.name), "sha256": sha256(path)},
    }


def sidecar(
    result: Segmentation, image: Image, *, origin: Json, run: Mapping[str, object], files: Mapping[str, int]
) -> Json:
    """Return the whole content of a sidecar.

    Parameters
    ----------
    origin : dict
        From `made_from`.
    run : mapping
        Device, memory, threads and seconds of this run, which do not affect the result.
    files : mapping of str to int
        Name and size in bytes of the other files of the set.
    """
    content: Json = {
        **provenance(image, origin),
        "notes": list(result.notes),
        "quality": {
            **{name: float(value) for name, value in result.quality.items()},
            "reasons": list(result.quality_reasons),
        },
        "execution": dict(run),  # not "run": pybids refuses names of entities with other values than in file names
        **peaks(result.planned_peak_bytes),
        "files": dict(files),
    }
    if result.posteriors is not None:
        content["posteriors"] = [{"index": label.index, "name": label.name} for label in result.table]
    return content


def provenance(image: Image, origin: Json) -> Json:
    """Return the fields of any sidecar on software, model, settings, input (`origin`, from `made_from`) and grid."""
    return {
        "software": "lodbrain",
        "version": __version__,
        "purpose": "for research, not a medical device",
        **origin,
        "grid": {
            "shape": [int(size) for size in image.shape],
            "spacing_mm": [round(float(size), 6) for size in image.spacing_mm],
            "voxel_volume_mm3": image.voxel_volume_mm3,
            "affine": image.affine.tolist(),
        },
    }


def peaks(planned_bytes: int | None) -> Json:
    """Return the fields on the peak memory of this process and as it was planned."""
    return {
        "peak_memory_mib": round(peak_mib(), 1),
        "planned_peak_memory_mib": planned_bytes and round(planned_bytes / MEBIBYTE, 1),
    }


def posteriors_sidecar(table: Sequence[Label], about: Mapping[str, object]) -> Json:
    """Return the content of the posteriors' sidecar: `about`, then the label of each volume, as BIDS requires."""
    return {**about, "LabelMap": [label.name for label in table]}
