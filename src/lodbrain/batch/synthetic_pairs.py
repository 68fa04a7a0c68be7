"""Files of a synthetic pair, in a dataset in the form of BIDS derivatives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lodbrain.batch.cases import CaseOutcome, exists_error, find_cases
from lodbrain.datasets.derivatives import describe_derivative
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labelmaps.upsample import upsample
from lodbrain.labels import INDEX_OF_CLASS, STRUCTURES
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable, labels_tsv
from lodbrain.segmentation.settings import choose_device
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import ScanPlan, render
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.synthesis.recipe import from_json, to_json
from lodbrain.system.atomic import write_text
from lodbrain.system.hashing import sha256
from lodbrain.system.records import json_text
from lodbrain.version import __version__

#: Intensity of white matter in the written scans, which have integer values.
WHITE = 1000

#: Largest number of rows of a figure.
ROWS = 8

#: Fields of a recipe that describe its origin.
_ORIGIN = ("label_map", "seed", "voxel_size_mm", "contrast", "upsampled", "pair")


@dataclass(frozen=True)
class SyntheticPair:
    """Files of one pair of a dataset, numbered from 1; the sidecar is written last and marks completion."""

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

    def write(self, plan: ScanPlan, labels: LabelMap, origin: Json) -> None:
        """Render a plan and write all files."""
        image, classes = render(plan, labels, target="classes")
        like = Image(classes.cpu().numpy(), _affine(plan.scan))
        values = image.mul_(WHITE / plan.white_matter).round_().clamp_(-32768, 32767).to(torch.int16).cpu().numpy()
        self.sidecar.parent.mkdir(parents=True, exist_ok=True)
        self.sidecar.unlink(missing_ok=True)
        description = f"lodbrain {__version__} synth"
        write_nifti(self.scan, values, like, description=description)
        write_nifti(self.labels, INDEX_OF_CLASS.astype(np.uint8)[like.data], like, description=description)
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
        write_text(self.sidecar, json_text(content))


def describe(out: Path) -> None:
    """Write ``dataset_description.json`` and ``dseg.tsv`` of a folder of pairs, unless they exist."""
    describe_derivative(out, "Synthetic scans with labels")
    if not (out / "dseg.tsv").exists():
        write_text(out / "dseg.tsv", labels_tsv(STRUCTURES))


def draw_sheet(pairs: Sequence[SyntheticPair], path: str | PathLike[str]) -> None:
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


def replay_pair(
    inputs: Iterable[str | PathLike[str]],
    recipe: str | PathLike[str],
    out_dir: str | PathLike[str],
    *,
    device: str = "auto",
    overwrite: bool = False,
    figure: str | PathLike[str] | None = None,
) -> CaseOutcome:
    """Regenerate a pair from its recipe (its sidecar) and its label map, found among `inputs` by its checksum.

    Raises
    ------
    UsageError
        If the file is not a recipe.
    """
    path, device = Path(recipe), choose_device(device)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        plan, origin = from_json(content["recipe"]), {key: content[key] for key in _ORIGIN}
        number, factor, wanted = int(origin["pair"]), int(origin["upsampled"]), dict(origin["label_map"])
        name, digest = str(wanted["name"]), str(wanted["sha256"])
    except OSError as error:
        raise UsageError("replay", path, f"cannot be read ({error.strerror})", "Name a pair's .json") from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"it is no recipe of this version: {error}"
        raise UsageError("replay", path, what, "Name the .json beside a scan that lodbrain synth wrote") from None
    pair = SyntheticPair(Path(out_dir), number)
    try:
        cases = find_cases(inputs, "_dseg")
        found = next((case for case in cases if case.problem is None and sha256(case.path) == digest), None)
        if found is None:
            what = f"none of the label maps is {name}, which it was generated from"
            raise InputError("label-map", path, what, "Give that label map")
        check_writable(pair.folder)
        if pair.sidecar.exists() and not overwrite:
            raise exists_error(pair.scan)
        describe(pair.folder)
        pair.write(plan, upsample(load(found.path), factor).to(device), origin)
        if figure is not None:
            check_writable(Path(figure).parent)
            draw_sheet([pair], figure)
        return CaseOutcome(path, "done", pair.scan)
    except Exception as error:
        return CaseOutcome(path, "failed", pair.scan, error=failure(error, path))
