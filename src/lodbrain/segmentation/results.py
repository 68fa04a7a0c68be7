"""Finished results read from disk: sidecars and volumes of many scans."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from lodbrain.errors import InputError, shown
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.inputs import files_below
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.volume_table import Volume
from lodbrain.system.records import read_tsv

#: Table of all scans that the BIDS App writes; not the volumes of a single scan, despite its ending.
GROUP_VOLUMES = "group_volumes.tsv"


@dataclass(frozen=True, eq=False)
class Result:
    """A finished segmentation.

    Attributes
    ----------
    sidecar : dict
        Content of ``_dseg.json``.
    volumes : tuple of Volume
        Content of ``_volumes.tsv``.
    folder : str
        Folder relative to the common parent of all results if two share a stem, with forward slashes; else empty.
    """

    outputs: Outputs
    sidecar: Json
    volumes: tuple[Volume, ...]
    folder: str = ""

    @property
    def scan(self) -> str:
        """Stem of the results, preceded by the folder if stems are not unique."""
        return f"{self.folder}/{self.outputs.stem}" if self.folder else self.outputs.stem


def find_results(folders: Iterable[str | PathLike[str]]) -> list[Result]:
    """Return the finished segmentations in folders and below, or of label maps (``_dseg.nii.gz``), sorted by path.

    Raises
    ------
    InputError
        If one of them has none, or a table is damaged.
    """
    found: dict[Path, Result] = {}
    for folder in map(Path, folders):
        if folder.is_dir():
            paths = sorted(path for path in files_below(folder) if path.name.endswith("_dseg.json"))
        else:
            paths = [folder.with_name(folder.name.removesuffix(".nii.gz").removesuffix(".json") + ".json")]
        own = {path: result for path in paths if (result := _result(path)) is not None}
        if not own:
            hint = "Name a folder that `lodbrain segment` or `lodbrain bids` wrote to"
            raise InputError("no-results", folder, "there are no finished segmentations", hint)
        found |= own
    return _told_apart(list(found.values()))


def _told_apart(results: list[Result]) -> list[Result]:
    """Return the results, all with their folders if two share a stem: ``s1/mri/orig`` and ``s2/mri/orig``."""
    if max(Counter(result.outputs.stem for result in results).values()) == 1:
        return results
    folders = [os.path.abspath(result.outputs.folder) for result in results]
    top = os.path.commonpath(folders)
    places = (Path(os.path.relpath(folder, top)) for folder in folders)
    return [
        replace(result, folder="" if place == Path() else place.as_posix())
        for result, place in zip(results, places, strict=True)
    ]


def read_volumes(path: Path) -> tuple[Volume, ...]:
    """Return the rows of a ``_volumes.tsv``.

    Raises
    ------
    InputError
        If it cannot be read, or is not a table of volumes.
    """
    try:
        rows = read_tsv(path)
        return tuple(
            Volume(
                None if row["index"] == "n/a" else int(row["index"]),
                row["name"],
                float(row["volume_mm3"]),
                float(row["soft_volume_mm3"]),
                _number(row.get("low_mm3")),
                _number(row.get("high_mm3")),
                None if row.get("note") in (None, "n/a") else row["note"],
            )
            for row in rows
        )
    except OSError as error:
        raise InputError(
            "unreadable", path, f"it cannot be read ({error.strerror})", "Segment the scan again"
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError("no-volumes", path, "it is not a table of volumes", "Segment the scan again") from error


def _number(text: str | None) -> float | None:
    return None if text in (None, "n/a") else float(text)


def same_labels(results: Sequence[Result]) -> list[str]:
    """Return the names of the volumes that all results have.

    Raises
    ------
    InputError
        If the names differ: structures, tissues and masks cannot share a table.
    """
    names = [volume.name for volume in results[0].volumes]
    for result in results:
        if [volume.name for volume in result.volumes] != names:
            what = f"it has other labels than {results[0].outputs.labels}"
            raise InputError("other-labels", result.outputs.labels, what, "Make a table of each kind of labels")
    return names


def _result(path: Path) -> Result | None:
    """Return the result of a sidecar; None if the file is not a sidecar, or the result is unfinished."""
    outputs = Outputs(path.parent, path.name.removesuffix("_dseg.json"))
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        if shown(outputs.labels.name) not in sidecar["files"]:
            outputs = replace(outputs, label_format="mgz")
        if sidecar["software"] != "lodbrain" or shown(outputs.volumes.name) not in sidecar["files"]:
            return None
        if "run" in sidecar:  # its name at first
            sidecar["execution"] = sidecar.pop("run")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Result(outputs, sidecar, read_volumes(outputs.volumes))
