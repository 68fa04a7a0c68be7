"""Label maps of brains alone, made ready to train on: FreeSurfer's numbers, and CSF or a whole head around the brain.

    python configs/brain_maps.py MAP... [--names NAMES.txt] [--heads] -o runs/maps

The folder gets the maps, and links to the published maps of whole heads, so that one configuration can name both.
NAMES lists the numbers of the maps' labels with FreeSurfer's names, as its colour tables do. For `default-6.yaml`: the
three maps and label list that GOUHFI's repository holds (github.com/mafortin/GOUHFI, Apache-2.0).
With --heads each brain gets the scalp, skull and CSF of one of the published heads 01 to 16, in turn.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.labelmaps.headmask import closed
from lodbrain.labels import STRUCTURES
from lodbrain.labels.numbers import count_numbers, replace_numbers
from lodbrain.labels.structures import CSF
from lodbrain.segmentation.inputs import stem_of

#: The first heads of the published ones are for training, the others for validation.
N_TRAINING = 16
#: Sulci are filled that a ball of this radius does not fit into, and CSF lies this thick around the brain: what
#: skull-stripping leaves there.
SULCUS_MM, MARGIN_MM = 8.0, 2.0
#: Least Dice of the two brains after the fit; below it, one of them is not a whole brain.
LEAST_DICE = 0.85

#: Number of each name in FreeSurfer's colour table, including numbers that are not structures of `lodbrain.labels`.
NUMBER_OF_NAME: Mapping[str, int] = (
    {label.name: label.index for label in STRUCTURES[1:]}
    | {"Left-Thalamus-Proper": 10, "Right-Thalamus-Proper": 49}
    | {"Left-Lesion": 25, "Right-Lesion": 57, "Left-undetermined": 29, "Right-undetermined": 61}
    | {"Left-vessel": 30, "Right-vessel": 62, "Left-choroid-plexus": 31, "Right-choroid-plexus": 63}
    | {"5th-Ventricle": 72, "Optic-Chiasm": 85, "Corpus_Callosum": 192, "Fornix": 250}
    | {"WM-hypointensities": 77, "Left-WM-hypointensities": 78, "Right-WM-hypointensities": 79}
    | {"non-WM-hypointensities": 80, "Left-non-WM-hypointensities": 81, "Right-non-WM-hypointensities": 82}
    | {"CC_Posterior": 251, "CC_Mid_Posterior": 252, "CC_Central": 253, "CC_Mid_Anterior": 254, "CC_Anterior": 255}
)

#: Background, and GOUHFI's name for tissue outside of the brain.
_NONE = ("Background", "Unknown", "ExtraCerebral")

_FORM = "A list has a line NUMBER NAME for each number, as FreeSurfer's colour tables"


def main() -> int:
    """Write the maps, and link those of whole heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--names", type=Path)
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    heads = sorted(find_labelmaps())
    for number, path in enumerate(asked.maps):
        image = read_labels(path) if asked.names is None else read_named(path, asked.names)
        if asked.heads:
            whole = surround(image, read_labels(heads[number % N_TRAINING]), name=str(path))
        else:
            whole = replace(image, data=with_csf(image))
        write_nifti(asked.out / f"{stem_of(path)}.nii.gz", whole.data, whole)
    for path in heads:
        link = asked.out / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    return 0


def with_csf(image: Image) -> NDArray[np.int16]:
    """The labels with CSF in sulci and cisterns, and around the brain."""
    inside = closed(image.data > 0, SULCUS_MM, image.spacing_mm)
    near = ndimage.distance_transform_edt(~inside, sampling=image.spacing_mm) <= MARGIN_MM
    return np.where((image.data == 0) & near, np.int16(CSF), image.data)


def read_named(path: str | PathLike[str], names: str | PathLike[str]) -> Image:
    """Return a label map in FreeSurfer's numbers.

    Parameters
    ----------
    names : path
        A line for each number, ``NUMBER NAME ...``, as in FreeSurfer's colour tables; empty lines and text after
        ``#`` are ignored. 0 is background.

    Returns
    -------
    Image
        data (X, Y, Z) int16.

    Raises
    ------
    InputError
        If the map or the list cannot be read, a number of the map is not in the list, or its name is not one of
        FreeSurfer's.
    """
    image, name_of = read_labels(path), read_names(names)
    numbers = {0: 0}
    for number in count_numbers(image.data):
        name = name_of.get(number, "Background" if number == 0 else None)
        if name is None:
            what = f"label {number} is not in the list {names}"
            raise InputError("labels", path, what, "Add it there, as Background if it is none")
        if name not in _NONE and name not in NUMBER_OF_NAME:
            raise InputError("labels", names, f"{name} is no structure that is known", "Use FreeSurfer's names")
        numbers[number] = NUMBER_OF_NAME.get(name, 0)
    return Image(replace_numbers(image.data, numbers, np.int16), image.affine, image.header, image.notes)


def read_names(path: str | PathLike[str]) -> dict[int, str]:
    """Return the name of each number in a list, see `read_named`.

    Raises
    ------
    InputError
        If the list or a line of it cannot be read, or a number occurs twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError("no-names", path, f"this list of label names cannot be read ({reason})", _FORM) from error
    names: dict[int, str] = {}
    for place, line in enumerate(lines, start=1):
        parts = line.split("#")[0].split()
        if not parts:
            continue
        if len(parts) < 2 or not parts[0].isdecimal():
            raise InputError("bad-names", path, f"line {place} is not number and name: {line.strip()[:40]!r}", _FORM)
        if int(parts[0]) in names:
            raise InputError("bad-names", path, f"line {place} names {parts[0]} again", "Name each number once")
        names[int(parts[0])] = parts[1]
    if not names:
        raise InputError("bad-names", path, "this list names no label", _FORM)
    return names


def surround(brain: Image, head: Image, *, name: str = "label map") -> Image:
    """Surround a brain with the tissue outside of another head's brain.

    Parameters
    ----------
    brain : Image
        Labels (X, Y, Z) int of a brain in FreeSurfer's numbers, with or without CSF (24) around it.
    head : Image
        Labels of a whole head, with tissue outside of the brain (500 to 530).
    name : str
        Name of the brain's map in messages.

    Returns
    -------
    Image
        data (X', Y', Z') int16 in RAS order, on the brain's voxels, wide enough for the head.

    Raises
    ------
    InputError
        If the two brains do not fit.
    """
    inner, outer = to_ras(brain)[0], to_ras(head)[0]
    labels = np.asarray(inner.data).astype(np.int16)
    there = np.asarray(outer.data).astype(np.int16)
    # Sulci are closed, because the folds of two cortices never match.
    ours = closed(_is_brain(labels), SULCUS_MM, inner.spacing_mm)
    theirs = closed(_is_brain(there), SULCUS_MM, outer.spacing_mm)
    matrix, offset = _fit(ours, theirs)
    fitted = _sample(theirs.astype(np.int16), matrix, offset, labels.shape) > 0
    dice = 2 * np.count_nonzero(fitted & ours) / (np.count_nonzero(fitted) + np.count_nonzero(ours))
    if dice < LEAST_DICE:
        what = f"its brain overlaps the fitted brain of the head by a Dice of {dice:.2f} (at least {LEAST_DICE})"
        raise InputError("surround", name, what, "Give label maps of whole brains.")

    low, shape = _room(there, matrix, offset, labels.shape)
    around = _sample(there, matrix, offset + matrix @ low, shape)
    around[_is_brain(around)] = CSF
    place = tuple(slice(-a, -a + n) for a, n in zip(low.tolist(), labels.shape, strict=True))
    own = np.zeros(shape, np.int16)
    own[place] = labels
    near = ndimage.binary_dilation(own > 0, ndimage.generate_binary_structure(3, 1))
    around[near] = CSF
    affine = inner.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Image(np.where(own > 0, own, around), affine)


def _is_brain(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    brain: NDArray[np.bool_] = (labels > 0) & (labels != CSF) & (labels < 500)
    return brain


def _fit(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix (3, 3) and offset (3,) from voxels of our grid to voxels of the other head's.

    It is the linear optimal transport map between two Gaussians that have the means and covariances of the two brains:
    it needs no search, matches the size along every axis, and rotates a tilted brain. Residuals of a few mm at the
    surface become CSF; the generator deforms every head anyway.

    References
    ----------
    Peyré and Cuturi 2019, Computational Optimal Transport, remark 2.31, doi:10.1561/2200000073.
    """
    means, spreads = [], []
    for mask in (ours, theirs):
        at = np.argwhere(mask)[::7].astype(np.float64)
        means.append(at.mean(0))
        spreads.append(np.cov(at.T))
    a, b = spreads
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    matrix = inverse @ _power(root @ b @ root, 0.5) @ inverse
    return matrix, means[1] - matrix @ means[0]


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return the power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    powered: NDArray[np.float64] = (vectors * values**exponent) @ vectors.T
    return powered


def _sample(
    labels: NDArray[np.int16], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.int16]:
    """Return labels of the nearest voxels to ``matrix @ voxel + offset``; 0 outside of the volume."""
    found: NDArray[np.int16] = ndimage.affine_transform(labels, matrix, offset, shape, order=0)
    return found


def _room(
    there: NDArray[np.int16], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """First voxel, which may be negative, and shape of our grid extended to contain the other head."""
    box = ndimage.find_objects((there > 0).astype(np.uint8))[0]
    corners = np.array(np.meshgrid(*((s.start, s.stop) for s in box), indexing="ij")).reshape(3, -1)
    ours = np.linalg.solve(matrix, corners - offset[:, None])
    low = np.minimum(np.floor(ours.min(1)), 0).astype(np.int64)
    high = np.maximum(np.ceil(ours.max(1)), shape).astype(np.int64)
    x, y, z = (high - low).tolist()
    return low, (x, y, z)


if __name__ == "__main__":
    sys.exit(main())
