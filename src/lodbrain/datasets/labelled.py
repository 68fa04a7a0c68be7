"""Lists of real scans with labels and sites, from a CSV manifest or a BIDS dataset with label maps."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lodbrain.errors import InputError, UsageError
from lodbrain.system.records import read_tsv

#: Columns of a manifest. Without the column site, all scans belong to one site.
COLUMNS = ("volume", "labels", "site")

#: Entities of a label map that do not name a scan.
_OF_DERIVATIVES = {"atlas", "den", "desc", "label", "res", "seg"}
_SUFFIXES = (".nii.gz", ".nii", ".mgz")
_ONE_SITE = "all"

#: Endings of a soft target's files, named like BIDS derivatives: the most probable label of each voxel, the second, and
#: the probability of the first among the two.
BEST, SECOND, PROBABILITY = "desc-teacher_dseg", "desc-second_dseg", "desc-teacher_probseg"


def soft_files(best: Path) -> tuple[Path, Path]:
    """Return the files of the second labels and of the probability beside those of a teacher's best labels."""
    second, probability = (best.with_name(best.name.replace(BEST, name)) for name in (SECOND, PROBABILITY))
    return second, probability


@dataclass(frozen=True)
class Labelled:
    """One scan with its label map.

    Attributes
    ----------
    site : str
        Site of acquisition; sites are held out and reported separately.
    """

    volume: Path
    labels: Path
    site: str

    @property
    def soft(self) -> tuple[Path, Path] | None:
        """Files of second labels and of the probability of the first if a teacher model made the labels; else None."""
        if BEST not in self.labels.name:
            return None
        second, probability = soft_files(self.labels)
        return (second, probability) if second.is_file() and probability.is_file() else None


def read_manifest(path: str | PathLike[str]) -> tuple[Labelled, ...]:
    """Return the scans of a CSV file with the columns volume, labels and (optional) site.

    Relative paths in it are relative to its folder.

    Raises
    ------
    UsageError
        If it cannot be read, or a column is missing or unknown.
    InputError
        If a file that it names is missing; the error gives the line.
    """
    path = Path(path)
    hint = f"The first line is: {','.join(COLUMNS)}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = reader.fieldnames or []
            if not {"volume", "labels"} <= set(names) or set(names) - set(COLUMNS):
                raise UsageError("manifest", path, f"has the columns {', '.join(names) or 'none'}", hint)
            rows = []
            for row in reader:
                volume, labels, site = (row.get(name) for name in COLUMNS)
                if not volume or not labels or None in row:
                    raise UsageError("manifest", path, f"line {reader.line_num} does not fit the columns", hint)
                pair = [path.parent / Path(name.strip()).expanduser() for name in (volume, labels)]
                for each in pair:
                    if not each.is_file():
                        what = f"is missing, but line {reader.line_num} of {path.name} lists it"
                        raise InputError("missing", each, what, "Paths are relative to the folder of the manifest")
                rows.append(Labelled(pair[0], pair[1], (site or _ONE_SITE).strip()))
    except OSError as error:
        raise UsageError("manifest", path, f"cannot be read ({error.strerror})", hint) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError("manifest", path, f"is no CSV: {error}", hint) from None
    if not rows:
        raise UsageError("manifest", path, "lists no scans", hint)
    return tuple(rows)


def read_bids(root: str | PathLike[str]) -> tuple[Labelled, ...]:
    """Return the T1w scans of a BIDS dataset that have a label map in the scan's own space.

    A label map is a ``*_dseg`` file with the scan's entities, and at most ``seg``, ``desc`` and the like besides, among
    the raw data or anywhere under ``derivatives/``. Of several, one with ``seg`` is used (the others may be tissues
    only), else the first by path. The site is the column ``site`` of
    ``participants.tsv``.

    Raises
    ------
    InputError
        If the folder is not a dataset, or no scan has labels.
    """
    root = Path(root)
    hint = "Label maps are derivatives/*/sub-*/[ses-*/]anat/*_dseg.nii.gz, on the grid of the scan"
    if not root.is_dir():
        raise InputError("no-bids", root, "is no folder", "Give the root of a BIDS dataset")
    sites = read_sites(root / "participants.tsv")
    maps = [path for suffix in _SUFFIXES for path in root.rglob(f"*_dseg{suffix}") if "_space-" not in path.name]
    maps.sort(key=lambda path: ("_seg-" not in path.name, path))
    found = []
    for suffix in _SUFFIXES:
        for scan in sorted([*root.glob(f"sub-*/anat/*_T1w{suffix}"), *root.glob(f"sub-*/ses-*/anat/*_T1w{suffix}")]):
            stem = scan.name.removesuffix(f"_T1w{suffix}")
            labels = next((path for path in maps if _is_of(path.name, stem)), None)
            if labels is not None:
                subject = stem.split("_")[0]
                found.append(Labelled(scan, labels, sites.get(subject, _ONE_SITE)))
    if not found:
        raise InputError("no-bids", root, "holds no T1w scan with a label map", hint)
    return tuple(found)


def _is_of(name: str, stem: str) -> bool:
    """Return whether a label map's name is that of a scan with further entities that only derivatives have."""
    further = name.removeprefix(f"{stem}_").split("_")[:-1]
    return name.startswith(f"{stem}_") and {entity.split("-")[0] for entity in further} <= _OF_DERIVATIVES


def read_sites(path: Path) -> dict[str, str]:
    """Return the site of each participant in a ``participants.tsv``; empty if the file or column is missing."""
    if not path.is_file():
        return {}
    return {
        row["participant_id"]: row["site"] for row in read_tsv(path) if row.get("participant_id") and row.get("site")
    }
