"""Files of a synthetic pair, in a data set in the form of BIDS derivatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.outputs import labels_tsv
from lodbrain.segmentation.sidecar import to_text
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import Plan, render
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.recipe import to_json
from lodbrain.system.atomic import write_text
from lodbrain.version import __version__

#: Intensity of white matter in the written scans, which have integer values.
WHITE = 1000

#: Largest number of rows of a figure.
ROWS = 8

_NUMBERS = np.array([label.index for label in STRUCTURES], np.uint8)
_BIDS_VERSION = "1.10.0"


@dataclass(frozen=True)
class Pair:
    """Files of one pair; the sidecar is written last and marks completion.

    Attributes
    ----------
    folder : Path
        Folder of the data set.
    number : int
        From 1.
    """

    folder: Path
    number: int

    def path(self, ending: str) -> Path:
        """Return the path of one of its files."""
        name = f"sub-synth{self.number:04d}"
        return self.folder / name / "anat" / f"{name}_{ending}"

    @property
    def scan(self) -> Path:
        """Image file. BIDS has no suffix for synthetic contrasts: T1w is used for all."""
        return self.path("T1w.nii.gz")

    @property
    def labels(self) -> Path:
        """Label file: FreeSurfer's numbers, on the image's grid."""
        return self.path("dseg.nii.gz")

    @property
    def sidecar(self) -> Path:
        """Recipe file."""
        return self.path("T1w.json")

    def is_complete(self, origin: Json) -> bool:
        """Return whether a finished pair of the same origin exists."""
        try:
            content = json.loads(self.sidecar.read_text(encoding="utf-8"))
            return {key: content.get(key) for key in origin} == origin and all(
                self.scan.with_name(name).stat().st_size == size for name, size in content["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def write(self, plan: Plan, labels: LabelMap, origin: Json) -> None:
        """Render a plan and write all files."""
        image, classes = render(plan, labels, target="classes")
        like = Image(classes.cpu().numpy(), _affine(plan.scan))
        values = image.mul_(WHITE / plan.white_matter).round_().clamp_(-32768, 32767).to(torch.int16).cpu().numpy()
        self.sidecar.parent.mkdir(parents=True, exist_ok=True)
        self.sidecar.unlink(missing_ok=True)
        description = f"lodbrain {__version__} synth"
        write_nifti(self.scan, values, like, description=description)
        write_nifti(self.labels, _NUMBERS[like.data], like, description=description)
        content: Json = {
            "software": "lodbrain",
            "version": __version__,
            "torch": torch.__version__.partition("+")[0],
            "purpose": "synthetic scan for training, for research",
            **origin,
            "contrast_kind": plan.contrast.kind,
            "recipe": to_json(plan),
            "files": {path.name: path.stat().st_size for path in (self.scan, self.labels)},
        }
        write_text(self.sidecar, to_text(content))


def describe(out: Path) -> None:
    """Write BIDS' description of a folder of pairs and of their labels."""
    description = {
        "Name": "Synthetic scans with labels",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "lodbrain", "Version": __version__}],
    }
    texts = {"dataset_description.json": json.dumps(description, indent=2) + "\n", "dseg.tsv": labels_tsv(STRUCTURES)}
    for name, text in texts.items():
        if not (out / name).exists():
            write_text(out / name, text)


def draw_sheet(pairs: Sequence[Pair], path: str | PathLike[str]) -> None:
    """Write a figure of the first existing pairs."""
    from lodbrain.report.pair_figure import pair_figure  # matplotlib: an extra

    rows = []
    for pair in pairs[:ROWS]:
        image, sidecar = read_image(pair.scan), json.loads(pair.sidecar.read_text(encoding="utf-8"))
        words = f"{sidecar['pair']}: {sidecar['contrast_kind']}, {float(image.spacing_mm.mean()):.2f} mm"
        rows.append((image, read_labels(pair.labels).data, words))
    if rows:
        pair_figure(rows, path)


def _affine(grid: Grid) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Voxel -> RAS in mm; the origin is the brain's centre."""
    affine = np.diag([*grid.spacing_mm, 1.0])
    affine[:3, 3] = [o + v / 2 for o, v in zip(grid.corner_mm, grid.spacing_mm, strict=True)]
    return affine
