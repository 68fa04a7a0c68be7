"""Brain mask, and maps of grey matter, white matter and CSF, for pipelines that work with three tissues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.datasets.smriprep import TissueFiles, sidecar_of
from lodbrain.images.canonical import canonical
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.inference.counts import occupied
from lodbrain.inference.prediction import Pooling
from lodbrain.labels import TABLES, Scheme
from lodbrain.labels.gm_wm_csf import GM_WM_CSF, GM_WM_CSF_OF_CLASS
from lodbrain.segmentation.outputs import labels_tsv
from lodbrain.segmentation.volume_table import index_of_class, pooling_of
from lodbrain.system.atomic import write_text
from lodbrain.system.records import json_text

if TYPE_CHECKING:
    from lodbrain.segmentation.settings import Settings

_POOLING: Pooling = tuple(GM_WM_CSF_OF_CLASS.tolist())


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """Brain mask and maps of three tissues.

    Attributes
    ----------
    mask : (X, Y, Z) bool
        Brain and the CSF around it: one component without holes.
    labels : (X, Y, Z) uint8
        The most probable of 1 grey matter, 2 white matter, 3 CSF, and 0, which is outside of the mask and where none of
        these is.
    posteriors : (X, Y, Z, 3) float16
        Of grey matter, white matter and CSF; 0 outside of the mask.
    """

    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    posteriors: NDArray[np.float16]

    def turned(self, turn: Callable[[NDArray[Any]], NDArray[Any]]) -> TissueMaps:
        """Return the maps with another order of axes; `turn` is a method of `Reorientation`."""
        return TissueMaps(turn(self.mask), turn(self.labels), turn(self.posteriors))


def kept_pooling(model_labels: Scheme, settings: Settings) -> Pooling | None:
    """Return how inference pools the posteriors of classes before it stores them.

    It pools them to what is wanted, to save memory; None if it must keep one volume of each class, or none at all.
    """
    if settings.tissue_maps:
        return None if settings.posteriors else _POOLING
    if settings.posteriors:
        return pooling_of(index_of_class(model_labels, settings.labels), TABLES[settings.labels])
    return None


def tissue_maps_of(posteriors: NDArray[np.float16], kept: Pooling | None = None) -> TissueMaps:
    """Return mask and maps of a prediction.

    The mask holds the voxels where the posterior of brain or CSF exceeds the threshold of brain extraction, because a
    mask that loses cortex does more harm than one that leaves some dura.

    Parameters
    ----------
    posteriors : (V, X, Y, Z) float16
        Overwritten if they are pooled already.
    kept : tuple of int, optional
        How they are pooled, from `kept_pooling`.
    """
    from lodbrain.inference.brain_mask import THRESHOLD, solid
    from lodbrain.inference.decide import repooled

    soft = repooled(posteriors, _POOLING, kept)
    mask = solid(soft[0] < 1 - THRESHOLD)
    labels = np.zeros(mask.shape, np.uint8)
    box = occupied(mask)
    labels[box] = soft[(slice(None), *box)].argmax(0)
    for array in (labels, *soft[1:]):
        array[~mask] = 0
    return TissueMaps(mask, labels, np.moveaxis(soft[1:], 0, -1))


def write_tissue_maps(
    maps: TissueMaps, image: Image, files: TissueFiles, *, about: Mapping[str, object], made_by: str
) -> None:
    """Write mask, segmentation and probability maps with their JSON files, in the order of axes closest to RAS.

    Parameters
    ----------
    maps : TissueMaps
        On the grid of `image`.
    about : mapping
        Fields of BIDS on the source of the results.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    like, reorientation = canonical(image)
    turned = maps.turned(reorientation.apply)
    images = [turned.mask.view(np.uint8), turned.labels, *np.moveaxis(turned.posteriors, -1, 0)]
    contents = ["Brain and the CSF around it", "Grey matter, white matter and CSF"]
    contents += [f"Posterior of {label.name}" for label in GM_WM_CSF[1:]]
    for path, data, content in zip(files.images, images, contents, strict=True):
        write_nifti(path, data, like, description=made_by)
        kind = {"Type": "Brain"} if path == files.mask else {"Manual": False}
        source = {field: about[field] for field in ("Sources", "SpatialReference") if field in about}
        described = {"Description": f"{content}, by {made_by}; axes in RAS order", **source, **kind}
        write_text(sidecar_of(path), json_text(described))
    write_text(files.table, labels_tsv(GM_WM_CSF))
