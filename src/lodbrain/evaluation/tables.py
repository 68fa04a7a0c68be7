"""Label tables: the meaning of a label map's numbers, built in or read from a TSV.

Built in are ``structures``, ``tissue`` and ``brain``, as `lodbrain segment` writes them, and ``freesurfer`` for aseg,
aparc+aseg, wmparc and aparc.a2009s+aseg (`lodbrain.labels.freesurfer`). For custom tables, see `read_table`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.regions import BRAIN_ATOM, FREESURFER_CSF_ATOM, N_ATOMS, TISSUE_ATOMS, UNSIDED
from lodbrain.labels import BRAIN, CLASS_OF_INDEX, STRUCTURES, TISSUES
from lodbrain.labels.freesurfer import FREESURFER
from lodbrain.labels.numbers import count_numbers, replace_numbers
from lodbrain.labels.structures import CSF
from lodbrain.system.records import read_tsv

#: Columns of a TSV that can define a number's meaning, and their values.
MEANINGS = {
    "freesurfer": "a number of FreeSurfer",
    "structures": "a number of this package's structures",
    "tissue": "1 to 6 of this package's tissue classes",
    "brain": "1 for brain",
}

_SIDE_WORDS = {"left": "left", "lh": "left", "l": "left", "right": "right", "rh": "right", "r": "right"}
_NONE = ("", "0", "n/a")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Meaning of each number of a label map.

    Attributes
    ----------
    atoms : mapping of int to int
        Number in the file -> atom of `lodbrain.evaluation.regions`, 0 for numbers of no structure.
    """

    name: str
    atoms: Mapping[int, int] = field(repr=False)

    def __post_init__(self) -> None:
        odd = sorted(set(self.atoms.values()) - set(range(N_ATOMS)))
        if odd:
            raise ValueError(f"atoms must be 0 to {N_ATOMS - 1}, got {odd}")
        object.__setattr__(self, "atoms", MappingProxyType({0: 0, **self.atoms}))

    @property
    def known(self) -> frozenset[int]:
        """Atoms that maps of this table can contain."""
        return frozenset(self.atoms.values()) - {0}

    def restricted(self, numbers: Iterable[int], name: str = "") -> LabelTable:
        """Return the table for partially labelled maps, to which other numbers are unknown.

        Examples
        --------
        >>> hemispheres = FREESURFER_TABLE.restricted([2, 3, 41, 42], "hemispheres")
        >>> sorted(hemispheres.atoms)
        [0, 2, 3, 41, 42]
        """
        kept = set(numbers)
        return LabelTable(name or self.name, {number: atom for number, atom in self.atoms.items() if number in kept})

    def apply(self, labels: NDArray[np.integer]) -> tuple[NDArray[np.uint8], dict[int, int]]:
        """Return the atoms of a label map, and the voxel counts of numbers that are not in the table.

        Parameters
        ----------
        labels : (X, Y, Z) int

        Returns
        -------
        atoms : (X, Y, Z) uint8
            0 where the number is not in the table.
        unknown : dict of int to int
        """
        counts = count_numbers(labels)
        unknown = {number: counted for number, counted in counts.items() if number not in self.atoms}
        return replace_numbers(labels, {number: self.atoms.get(number, 0) for number in counts}, np.uint8), unknown


def _freesurfer() -> dict[int, int]:
    """Atoms of FreeSurfer's numbers; structures whose side follows from position have none here."""
    atoms = {}
    for number, (left, right) in FREESURFER.items():
        place = CLASS_OF_INDEX[left]
        atoms[number] = place if left == right else UNSIDED[STRUCTURES[place].sideless]
    return atoms | {CSF: FREESURFER_CSF_ATOM}


STRUCTURES_TABLE = LabelTable("structures", {label.index: place for place, label in enumerate(STRUCTURES)})
FREESURFER_TABLE = LabelTable("freesurfer", _freesurfer())
TISSUE_TABLE = LabelTable("tissue", TISSUE_ATOMS)
BRAIN_TABLE = LabelTable("brain", {1: BRAIN_ATOM})

BUILT_IN: dict[str, LabelTable] = {
    table.name: table for table in (STRUCTURES_TABLE, TISSUE_TABLE, BRAIN_TABLE, FREESURFER_TABLE)
}


def table_named(given: str | Path) -> LabelTable:
    """Return a built-in table by its name, or the table in a TSV file.

    Raises
    ------
    UsageError
        If it is neither, or the file is not valid.
    """
    if str(given) in BUILT_IN:
        return BUILT_IN[str(given)]
    if not Path(given).is_file():
        hint = f"Name a TSV file or one of {', '.join(BUILT_IN)}"
        raise UsageError("no-table", given, "this is no label table", hint)
    return read_table(given)


def detect_table(path: Path, labels: NDArray[np.integer]) -> LabelTable:
    """Return the built-in table of a label map.

    The names in the TSV beside it (``NAME_dseg.tsv``) decide, if it exists; otherwise its numbers do.

    Raises
    ------
    InputError
        If some of its numbers are in no table.
    """
    present = set(count_numbers(labels))
    candidates = (BRAIN_TABLE, TISSUE_TABLE, STRUCTURES_TABLE, FREESURFER_TABLE)
    fitting = [table for table in candidates if present <= set(table.atoms)]
    named = _named_beside(path)
    if named is not None and named in fitting:
        return named
    if not fitting:
        smallest = sorted(present - set(FREESURFER_TABLE.atoms))
        numbers = ", ".join(map(str, smallest[:5])) + (" ..." if len(smallest) > 5 else "")
        hint = "Give a TSV that says what they mean, or name a table to count them as background"
        raise InputError("unknown-labels", path, f"its labels {numbers} are in no built-in table", hint)
    return fitting[0]


def read_table(path: str | Path) -> LabelTable:
    """Read a custom table.

    The TSV has a column ``index`` and one that defines a number's meaning: ``freesurfer``, ``structures``, ``tissue``
    or ``brain``; empty, 0 and n/a mean none of our structures. ``freesurfer`` and ``structures`` differ in 24 only,
    which is all CSF here. A column ``side`` (left, right, none) or the words left and right in ``name`` distinguish a
    structure without sides (vermis, a whole thalamus) from the left one, whose number it then uses.

    Raises
    ------
    UsageError
        If a line is not valid; the message names the line.
    """
    path = Path(path)
    try:
        rows = [
            {column.strip(): (cell or "").strip() for column, cell in row.items() if column} for row in read_tsv(path)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("bad-table", path, f"this label table cannot be read ({error})", "Give a TSV file") from error
    meaning = next((column for column in MEANINGS if rows and column in rows[0]), None)
    if meaning is None or "index" not in rows[0]:
        hint = f"A label table has tab-separated columns index and one of {', '.join(MEANINGS)}"
        raise UsageError("bad-table", path, "its first line names no such columns", hint)
    atoms: dict[int, int] = {}
    sides: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        index, target = row["index"], row[meaning]
        try:
            number = int(index)
            atom = 0 if target in _NONE else _atom(meaning, int(target))
        except (ValueError, KeyError):
            what = f"line {line} says that {index!r} is {target!r}"
            raise UsageError("bad-table", path, what, f"Expected: a whole number, and {MEANINGS[meaning]}") from None
        if number in atoms:
            raise UsageError("bad-table", path, f"line {line} names {number} again", "Name each number once")
        atoms[number], sides[number] = atom, _side(row)
        if {sides[number], _side_of_atom(atom)} == {"left", "right"}:
            what = f"line {line} calls {number} {sides[number]}, but {target} is a structure of the other side"
            raise UsageError("bad-table", path, what, "Correct one of them")
    return LabelTable(path.name, _without_sides(atoms, sides))


def _atom(meaning: str, target: int) -> int:
    if meaning == "freesurfer":
        return FREESURFER_TABLE.atoms[target]
    return {"structures": STRUCTURES_TABLE, "tissue": TISSUE_TABLE, "brain": BRAIN_TABLE}[meaning].atoms[target]


def _side(row: Mapping[str, str]) -> str:
    """Return ``left``, ``right``, ``none``, or an empty string if the row has no side."""
    if row.get("side"):
        return _SIDE_WORDS.get(row["side"].lower(), "none")
    words = re.split(r"[^a-z]+", row.get("name", "").lower())
    return next((_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS), "")


def _side_of_atom(atom: int) -> str | None:
    return STRUCTURES[atom].side if atom < len(STRUCTURES) else None


def _without_sides(atoms: Mapping[int, int], sides: Mapping[int, str]) -> dict[int, int]:
    """Return atoms in which structures without sides do not count as the side whose number they used.

    If some rows have a side, a row without one is a structure without sides. If no row has, a structure has no sides if
    the number of only one of them occurs.
    """
    any_sided = any(side in ("left", "right") for side in sides.values())
    used = set(atoms.values())

    def sided(number: int, atom: int) -> bool:
        if sides[number]:
            return sides[number] != "none"
        return not any_sided and CLASS_OF_INDEX[STRUCTURES[atom].mirror] in used

    return {
        number: atom if _side_of_atom(atom) is None or sided(number, atom) else UNSIDED[STRUCTURES[atom].sideless]
        for number, atom in atoms.items()
    }


def _named_beside(path: Path) -> LabelTable | None:
    """Return the table whose names equal those of the TSV beside a label map."""
    beside = path.with_name(re.sub(r"\.(nii\.gz|nii|mgz|mgh)$", "", path.name, flags=re.IGNORECASE) + ".tsv")
    try:
        rows = {(int(row["index"]), row["name"]) for row in read_tsv(beside)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    tables = ((STRUCTURES_TABLE, STRUCTURES), (TISSUE_TABLE, TISSUES), (BRAIN_TABLE, BRAIN))
    return next((table for table, labels in tables if rows and rows <= {(x.index, x.name) for x in labels}), None)
