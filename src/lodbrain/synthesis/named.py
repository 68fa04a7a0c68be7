"""Label maps with numbers of their own, and a list that says by FreeSurfer's names what these mean."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.labels import STRUCTURES

#: Names that are no structure of ours, and the raw labels that the generator knows them by.
_OTHERS = {"Left-choroid-plexus": 136, "Right-choroid-plexus": 163, "WM-hypointensities": 77, "ExtraCerebral": 0}
_NUMBER_OF = {label.name: label.index for label in STRUCTURES} | _OTHERS


def read_named(path: str | PathLike[str], names: str | PathLike[str]) -> Image:
    """A label map in FreeSurfer's numbers.

    Parameters
    ----------
    path : path
        Of the map: numbers below 256.
    names : path
        A line for each number, ``NUMBER NAME ...``, as in FreeSurfer's colour tables; other lines are passed over.
        0 is background; numbers that are not listed become so.

    Returns
    -------
    Image
        data (X, Y, Z) int16.

    Raises
    ------
    InputError
        If the map cannot be read, or a name is not known.
    """
    image = read_labels(path)
    table = np.zeros(256, np.int16)
    for line in Path(names).read_text(encoding="utf-8").splitlines():
        parts = line.split()
        if len(parts) < 2 or not parts[0].isdigit() or parts[0] == "0":
            continue
        if parts[1] not in _NUMBER_OF:
            raise InputError("labels", names, f"{parts[1]} is no structure that is known", "use FreeSurfer's names")
        table[int(parts[0])] = _NUMBER_OF[parts[1]]
    return Image(table[image.data.astype(np.uint8)], image.affine, image.header, image.notes)
