"""Files of the BIDS derivative dataset of results: description, README, ``.bidsignore`` and sidecar fields."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lodbrain.datasets.bids_scans import BidsScan
from lodbrain.errors import UsageError
from lodbrain.system.atomic import write_text
from lodbrain.system.records import json_text
from lodbrain.version import __version__

BIDS_VERSION = "1.11.1"

#: Name of the raw dataset in BIDS URIs: ``bids:raw:sub-01/anat/...``.
RAW = "raw"

#: Files that BIDS does not define: tables of volumes, maps of model disagreement, report pages, group tables.
BIDSIGNORE = "*_volumes.tsv\n*_differ.nii.gz\n*.html\ngroup_*\n"

_CITATIONS = [
    "Svanera et al. 2024, Medical Image Analysis 93:103090, https://doi.org/10.1016/j.media.2024.103090",
    "Billot et al. 2023, Medical Image Analysis 86:102789, https://doi.org/10.1016/j.media.2023.102789",
]


def about(scan: BidsScan) -> dict[str, Any]:
    """Return the fields that BIDS requires in the sidecar of a derivative."""
    return {
        "Description": f"Brain structures, segmented by lodbrain on the grid of the {scan.suffix} image",
        "Sources": [f"bids:{RAW}:{scan.relative}"],
        "SpatialReference": f"bids:{RAW}:{scan.relative}",
        "Manual": False,
    }


def description(raw: Path, out: Path) -> dict[str, Any]:
    """Return the content of ``dataset_description.json`` for results of the dataset `raw` in the folder `out`.

    The path of the raw dataset is relative to `out`, since absolute paths are not portable. Its name, DOI, license and
    authors are copied.
    """
    source = _read(raw / "dataset_description.json")
    link = Path(os.path.relpath(raw.resolve(), out.resolve())).as_posix()
    doi = source.get("DatasetDOI")
    generated: dict[str, Any] = {
        "Name": "lodbrain",
        "Version": __version__,
        "Description": "Brain segmentation at the scan's own voxel size. For research, not a medical device.",
    }
    if container := os.environ.get("LODBRAIN_CONTAINER"):  # the recipes in containers/ set it: "docker lodbrain:0.1"
        kind, _, tag = container.partition(" ")
        generated["Container"] = {"Type": kind, **({"Tag": tag} if tag else {})}
    content = {
        "Name": f"lodbrain: brain segmentation of {source.get('Name') or raw.resolve().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated],
        "SourceDatasets": [{"URL": f"https://doi.org/{doi.removeprefix('doi:')}" if isinstance(doi, str) else link}],
        "DatasetLinks": {RAW: link},
        "HowToAcknowledge": " ".join(["Please cite:", "; ".join(_CITATIONS)]),
    }
    for name in ("License", "Authors"):
        if source.get(name):
            content[name] = source[name]
    return content


def begin(raw: Path, out: Path) -> None:
    """Write description, README and ``.bidsignore`` of a derivative dataset; existing README and ignore file are kept.

    Raises
    ------
    UsageError
        If `out` is the raw dataset, or contains another dataset.
    """
    check_out(raw, out)
    texts = {"dataset_description.json": json_text(description(raw, out))}
    for name, text in (("README.md", _README), (".bidsignore", BIDSIGNORE)):
        if not (out / name).exists():
            texts[name] = text
    for name, text in texts.items():
        write_text(out / name, text)


def describe_derivative(out: Path, name: str) -> None:
    """Write a short ``dataset_description.json`` of files made by lodbrain, unless the folder has one."""
    if not (out / "dataset_description.json").exists():
        content = {
            "Name": name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "lodbrain", "Version": __version__}],
        }
        write_text(out / "dataset_description.json", json_text(content))


def check_out(raw: Path, out: Path) -> None:
    """Raise an error if an output folder contains another dataset.

    Raises
    ------
    UsageError
        If `out` is the raw dataset, or its description names another pipeline.
    """
    if raw.exists() and out.exists() and raw.samefile(out):
        hint = "Name another folder, such as derivatives/lodbrain in it"
        raise UsageError("out-is-raw", out, "the results would lie among the scans", hint)
    if not (out / "dataset_description.json").exists():
        return
    made_by = _read(out / "dataset_description.json").get("GeneratedBy")
    names = [entry.get("Name") for entry in made_by if isinstance(entry, Mapping)] if isinstance(made_by, list) else []
    if "lodbrain" not in names:
        what = f"this folder holds {f'results of {names[0]}' if names else 'another dataset'}"
        raise UsageError("other-data-set", out, what, "Name a new folder")


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a description; empty if the file is missing or not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_README = """# Brain segmentations by lodbrain

For each T1w-like scan of the raw dataset (`bids:raw:` in the JSON files; `DatasetLinks` gives its location):

- `*_dseg.nii.gz`: label map on the scan's own grid. `*_dseg.tsv`: names and colours of its numbers.
- `*_dseg.json`: provenance, issues detected and corrected in the scan, QC warnings.
- `*_volumes.tsv`: volumes in mm^3, counted and from the posteriors.
- `*_probseg.nii.gz`, if requested: posteriors, one volume for each entry of `LabelMap` in its JSON.
- `*_differ.nii.gz`, for a consensus of models: 1 where its members assign different tissues.
- `*_desc-brain_mask.nii.gz`, `*_dseg.nii.gz` (1 grey matter, 2 white matter, 3 CSF) and `*_label-*_probseg.nii.gz`
  without `seg-lodbrain`, if requested: for sMRIPrep and fMRIPrep (`--derivatives`), axes in RAS order.
- `*_report.html` and `index.html`, if requested: report pages of each scan and of all.

`group_volumes.tsv` and `group_quality.tsv` have one row for each scan.

For research, not a medical device. Inspect every result before use.
"""
