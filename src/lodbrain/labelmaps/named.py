"""Label maps with custom numbers, and a list that names each number by FreeSurfer's names."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from lodbrain.errors import InputError
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.labels.freesurfer import NUMBER_OF_NAME
from lodbrain.labels.numbers import count_numbers, replace_numbers

#: Background, and GOUHFI's name for tissue outside of the brain.
_NONE = ("Background", "Unknown", "ExtraCerebral")

_FORM = "A list has a line NUMBER NAME for each number, as FreeSurfer's colour tables"


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
