"""Volumes of structures in mm^3: counted voxels (hard) and summed posteriors (soft)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodbrain.inference.calibration import Calibration
from lodbrain.inference.counts import voxels_of_class
from lodbrain.inference.prediction import Pooling
from lodbrain.labels import TABLES, TISSUE_OF_CLASS, Label, Scheme, relabel

#: Names of the rows that sum up others; they have no index.
TIV, BRAIN = "TIV", "brain"


@dataclass(frozen=True)
class Volume:
    """One row of a volumes table.

    Attributes
    ----------
    index : int or None
        Index in the label map; None for sums over several labels.
    name : str
        The label's name, ``"TIV"`` or ``"brain"``.
    volume_mm3 : float
        Voxels with this label, times the voxel volume.
    soft_volume_mm3 : float
        Sum of the posteriors, times the voxel volume.
    low_mm3, high_mm3 : float or None
        Prediction interval of the volume, if the model's card holds a calibration.
    note : str or None
        Limitation of the volume.
    """

    index: int | None
    name: str
    volume_mm3: float
    soft_volume_mm3: float
    low_mm3: float | None = None
    high_mm3: float | None = None
    note: str | None = None


def index_of_class(model_labels: Scheme, scheme: Scheme) -> NDArray[np.int16]:
    """Return the index (C,) int16 in the written label map of each class of a network.

    Parameters
    ----------
    model_labels : {"structures", "tissue"}
        Scheme of the network's classes.
    scheme : {"structures", "tissue", "brain"}
        Scheme of the written label map.

    Raises
    ------
    ValueError
        If structures are requested from a tissue model.

    Examples
    --------
    >>> index_of_class("tissue", "brain").tolist()
    [0, 1, 1, 1, 1, 1, 1]
    """
    classes = np.arange(len(TABLES[model_labels]))
    if model_labels == "structures":
        return relabel(classes, scheme)
    if scheme == "structures":
        raise ValueError(f"scheme must be tissue or brain for a model of {model_labels} classes, got {scheme!r}")
    return (classes if scheme == "tissue" else classes > 0).astype(np.int16)


def pooling_of(index: NDArray[np.integer], table: Sequence[Label]) -> Pooling | None:
    """Return the row of a label table of each class of a network; None if each class has its own row, in their order.

    Parameters
    ----------
    index : (C,) int
        Index in the table of each class.
    table : sequence of Label
        Background first.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> pooling_of(index_of_class("tissue", "brain"), BRAIN)
    (0, 1, 1, 1, 1, 1, 1)
    """
    row_of = {label.index: row for row, label in enumerate(table)}
    rows = tuple(row_of[number] for number in index.tolist())
    return None if rows == tuple(range(len(table))) else rows


def volumes(
    classes: NDArray[np.integer],
    soft_volume_vox: NDArray[np.floating],
    *,
    model_labels: Scheme,
    scheme: Scheme,
    voxel_volume_mm3: float,
    variance_vox: NDArray[np.floating] | None = None,
    calibration: Calibration | None = None,
) -> tuple[Volume, ...]:
    """Return the volumes table: a row per label of the scheme, then TIV, and brain unless it is a label.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Network classes.
    soft_volume_vox : (C,) float
        Sum of the posteriors of each class, in voxels.
    voxel_volume_mm3 : float
        |det| of the affine's 3x3 part.
    variance_vox : (C,) float, optional
        Sum of p (1 - p) of each class, in voxels, for the intervals.

    Returns
    -------
    tuple of Volume
        TIV is the sum of all structures and all CSF inside the skull, so it exists only for a model with a CSF class;
        brain is all but CSF.

    Examples
    --------
    >>> rows = volumes(np.array([[[0, 1, 1]]]), np.array([1.0, 1.5, 0.5, 0, 0, 0, 0]),
    ...                model_labels="tissue", scheme="brain", voxel_volume_mm3=2.0)
    >>> [(row.index, row.name, row.volume_mm3, row.soft_volume_mm3) for row in rows]
    [(1, 'brain', 4.0, 4.0)]
    """
    index = index_of_class(model_labels, scheme)
    if len(soft_volume_vox) != len(index):
        raise ValueError(f"soft_volume_vox must have {len(index)} values, got {len(soft_volume_vox)}")
    hard_vox = voxels_of_class(classes, len(index))

    def row(number: int | None, name: str, members: NDArray[np.bool_]) -> Volume:
        hard, soft = (float(vox[members].sum()) * voxel_volume_mm3 for vox in (hard_vox, soft_volume_vox))
        if variance_vox is None or calibration is None:
            return Volume(number, name, hard, soft)
        variance = float(variance_vox[members].sum()) * voxel_volume_mm3
        low, high = calibration.interval(name, soft, variance) or (None, None)
        return Volume(number, name, hard, soft, low, high)

    rows = [row(label.index, label.name, index == label.index) for label in TABLES[scheme] if label.index]
    if model_labels == "structures":
        rows.append(row(None, TIV, index_of_class(model_labels, "structures") > 0))
    if scheme != "brain":
        rows.append(row(None, BRAIN, TISSUE_OF_CLASS > 0 if model_labels == "structures" else index > 0))
    return tuple(rows)


def volumes_tsv(rows: Sequence[Volume]) -> str:
    """Return the table as the text of a TSV file; missing values are ``n/a``, as in BIDS."""
    lines = ["index\tname\tvolume_mm3\tsoft_volume_mm3\tlow_mm3\thigh_mm3\tnote"]
    for row in rows:
        index = "n/a" if row.index is None else str(row.index)
        numbers = (row.volume_mm3, row.soft_volume_mm3, row.low_mm3, row.high_mm3)
        cells = ("n/a" if n is None else f"{n:.3f}" for n in numbers)
        lines.append("\t".join([index, row.name, *cells, row.note or "n/a"]))
    return "\n".join(lines) + "\n"
