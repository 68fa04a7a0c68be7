"""Reference volumes of structures, derived from label maps of whole heads.

    python benchmarks/usual_volumes.py LABELMAPS/training_seg_*.nii.gz > src/lodbrain/resources/reference_volumes.tsv

Means and standard deviations of the logarithms: of structures and tissues as shares of the brain, of brain and TIV in
mm^3. The table in the package is of the 20 label maps of `lodbrain fetch labelmaps`.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable
from os import PathLike

import numpy as np

from lodbrain.images.io import read_labels
from lodbrain.labels import N_CLASSES, TABLES, Scheme
from lodbrain.segmentation.usual_volumes import Reference
from lodbrain.segmentation.volume_table import BRAIN, TIV, volumes
from lodbrain.synthesis.label_map import CLASS_OF_CODE, encode

_PARTS: tuple[Scheme, ...] = ("structures", "tissue")


def volumes_of_label_map(path: str | PathLike[str]) -> dict[str, float]:
    """Return volumes in mm^3 of structures, tissues, brain and TIV in a label map with SynthSeg's labels.

    Lesions count as white matter and choroid plexus as ventricle, as in training.
    """
    image = read_labels(path)
    classes = CLASS_OF_CODE.numpy()[encode(image.data, image.affine, str(path))].astype(np.uint8)
    found: dict[str, float] = {}
    for scheme in TABLES:
        rows = volumes(
            classes,
            np.zeros(N_CLASSES),
            model_labels="structures",
            scheme=scheme,
            voxel_volume_mm3=image.voxel_volume_mm3,
        )
        found |= {row.name: row.volume_mm3 for row in rows}
    return found


def derive(paths: Iterable[str | PathLike[str]]) -> list[Reference]:
    """Return the table of usual volumes from several label maps.

    Parameters
    ----------
    paths : iterable of path
        Label maps of whole heads, with CSF.

    Returns
    -------
    list of Reference
        Of structures and tissues as shares of the brain; of brain and TIV in mm^3.

    Raises
    ------
    ValueError
        If there are fewer than two label maps, or a structure is missing in one.
    """
    heads = [volumes_of_label_map(path) for path in paths]
    if len(heads) < 2:
        raise ValueError(f"paths must name at least two label maps, got {len(heads)}")
    names = dict.fromkeys(label.name for scheme in _PARTS for label in TABLES[scheme] if label.index)
    pairs = [*((name, BRAIN) for name in names), (TIV, "mm3"), (BRAIN, "mm3")]
    return [_row(heads, name, to) for name, to in pairs]


def _row(heads: list[dict[str, float]], name: str, to: str) -> Reference:
    values = [head[name] / (1.0 if to == "mm3" else head[to]) for head in heads]
    if min(values) <= 0:
        raise ValueError(f"paths must name label maps that have {name}")
    logs = [math.log(value) for value in values]
    return Reference(name, to, statistics.fmean(logs), statistics.stdev(logs), len(logs))


if __name__ == "__main__":
    print("name\trelative_to\tmean_log\tsd_log\tn")
    for row in derive(sys.argv[1:]):
        print(f"{row.name}\t{row.relative_to}\t{row.mean_log:.5f}\t{row.sd_log:.5f}\t{row.n}")
