"""Training targets from a teacher model: soft labels of real scans, rejection of cases, manifest for training.

The teacher's posteriors are reduced to the best and second-best structure and the probability of the best. Soft targets
are preferred to an ignore mask: a teacher is least certain at borders, where two structures share a voxel. Ignoring
these voxels would leave out what determines the position of borders and the size of structures, whereas a posterior of
one half biases neither. Two structures hold 98% or more of the posterior in nearly every voxel and compress to a few
MB; posteriors of all 33 classes would take 100 MB.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.datasets.labelled import BEST, COLUMNS, soft_files
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.labels import Label
from lodbrain.system.atomic import write_text
from lodbrain.version import __version__

#: Suffix in the file name of a training label map of the whole head, as in BIDS derivatives.
HEAD_MAP = "desc-head_dseg"

#: File in the output folder that lists the accepted scans, read by ``real: manifest:`` of a training configuration.
MANIFEST = "manifest.csv"

#: Cases are rejected if the members of a consensus disagree in a larger share of the brain.
MOST_DISAGREEMENT = 0.2
#: Cases with a lower predicted Dice are rejected.
LEAST_PREDICTED_DICE = 0.6


@dataclass(frozen=True, eq=False)
class SoftTarget:
    """Best and second-best label of each voxel and the probability of the best.

    Attributes
    ----------
    best, second : (X, Y, Z) int16
        Indices of the label table.
    probability : (X, Y, Z) float32
        Posterior of the best over that of both, 0.5 to 1 in steps of 1/255.
    """

    best: NDArray[np.int16]
    second: NDArray[np.int16]
    probability: NDArray[np.float32]


def soft_target(posteriors: NDArray[np.floating], table: tuple[Label, ...]) -> SoftTarget:
    """Reduce posteriors (X, Y, Z, C), a volume for each row of `table`, to the two likeliest labels of each voxel.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> target = soft_target(np.array([[[[0.2, 0.6]]]]), BRAIN)
    >>> int(target.best[0, 0, 0]), int(target.second[0, 0, 0]), round(float(target.probability[0, 0, 0]), 2)
    (1, 0, 0.75)
    """
    index = np.array([label.index for label in table], np.int16)
    shape = posteriors.shape[:3]
    best, second = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    probability = np.ones(shape, np.float32)
    for x in range(shape[0]):  # plane by plane: sorting a whole head would copy its posteriors
        plane = posteriors[x].astype(np.float32)
        order = np.argpartition(plane, -2, axis=-1)[..., -2:]
        values = np.take_along_axis(plane, order, -1)
        swap = values[..., 0] > values[..., 1]
        order[swap], values[swap] = order[swap][:, ::-1], values[swap][:, ::-1]
        second[x], best[x] = index[order[..., 0]], index[order[..., 1]]
        both = np.maximum(values.sum(-1), 1e-6)
        probability[x] = np.round(values[..., 1] / both * 255) / 255
    return SoftTarget(best, second, probability)


def target_paths(head_map: Path) -> tuple[Path, Path, Path]:
    """Return the files of a soft target (best, second, probability) beside a label map of the head."""
    best = head_map.with_name(f"{head_map.name.removesuffix(f'_{HEAD_MAP}.nii.gz')}_{BEST}.nii.gz")
    return (best, *soft_files(best))


def write_target(head_map: Path, target: SoftTarget, scan: Image) -> list[Path]:
    """Write a soft target beside a label map of the head, on the scan's grid; return the paths of its files."""
    paths = target_paths(head_map)
    volumes: tuple[NDArray[Any], ...] = (target.best, target.second, target.probability)
    for path, data in zip(paths, volumes, strict=True):
        write_nifti(path, data, scan, description=f"lodbrain {__version__} labels make")
    return list(paths)


def reason_to_reject(quality: Mapping[str, float]) -> str | None:
    """Return why a teacher's result is unsuitable for training, or None.

    Parameters
    ----------
    quality : mapping
        Quality of a segmentation: ``disagreement`` (share of the brain in which the members of a consensus disagree)
        and ``score`` (predicted Dice), where the model has them.
    """
    disagreement, score = quality.get("disagreement"), quality.get("score")
    if disagreement is not None and disagreement > MOST_DISAGREEMENT:
        return f"the members of the model disagree in {disagreement:.0%} of the brain (limit {MOST_DISAGREEMENT:.0%})"
    if score is not None and score < LEAST_PREDICTED_DICE:
        return f"its predicted Dice is {score:.2f} (limit {LEAST_PREDICTED_DICE})"
    return None


def write_manifest(folder: Path, rows: Iterable[tuple[Path, Path, str]]) -> Path:
    """Write the list of accepted scans (volume, labels, site), with paths relative to the folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for volume, labels, site in sorted(rows):
        writer.writerow([os.path.relpath(volume, folder), os.path.relpath(labels, folder), site])
    path = folder / MANIFEST
    write_text(path, text.getvalue())
    return path
