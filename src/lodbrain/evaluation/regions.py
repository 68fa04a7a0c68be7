"""Evaluated regions: structures by side, both sides together, tissue classes, the brain.

Label maps of any table are first converted to *atoms*, numbers of the smallest units that labels can describe. A table
with sides has "Left-Thalamus", one without has "Thalamus", a tissue map has "Basal-Ganglia". A region is a set of
atoms, so that maps of different detail are compared on the regions that both describe.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lodbrain.labels import CLASS_OF_INDEX, STRUCTURES, TISSUES
from lodbrain.segmentation.volume_table import TIV

RegionLevel: TypeAlias = Literal["structure", "merged", "tissue", "brain"]
RegionSide: TypeAlias = Literal["left", "right", "both", "midline"]

LEVELS: tuple[RegionLevel, ...] = ("structure", "merged", "tissue", "brain")

#: Names of the paired structures without side, in the order of their left indices.
PAIRED: tuple[str, ...] = tuple(label.sideless for label in STRUCTURES if label.side == "left")

#: Atoms: 0 background, 1..32 the classes of `lodbrain.labels`, then paired structures of unknown side, tissues, the
#: brain, and CSF in FreeSurfer's sense, a small part of the CSF of `lodbrain.labels`.
UNSIDED: dict[str, int] = {name: len(STRUCTURES) + place for place, name in enumerate(PAIRED)}
_FIRST_TISSUE = len(STRUCTURES) + len(PAIRED)
TISSUE_ATOMS: dict[int, int] = {label.index: _FIRST_TISSUE + place for place, label in enumerate(TISSUES[1:])}
BRAIN_ATOM = _FIRST_TISSUE + len(TISSUE_ATOMS)
FREESURFER_CSF_ATOM = BRAIN_ATOM + 1
N_ATOMS = FREESURFER_CSF_ATOM + 1


@dataclass(frozen=True)
class Region:
    """A part of the head that is evaluated as one mask.

    Attributes
    ----------
    name : str
        Without the side: ``"Thalamus"``.
    side : {"left", "right", "both", "midline"}
    level : {"structure", "merged", "tissue", "brain"}
        A structure of one side; its two sides together; a tissue class; the brain without CSF.
    atoms : frozenset of int
        Atoms that make up the region.
    known_by : frozenset of frozenset of int
        A table that has all atoms of one of these sets can represent the region.
    """

    name: str
    side: RegionSide
    level: RegionLevel
    atoms: frozenset[int]
    known_by: frozenset[frozenset[int]]

    def is_known(self, atoms: Collection[int]) -> bool:
        """Return whether a table with these atoms can represent the region."""
        return any(needed <= set(atoms) for needed in self.known_by)


def regions_of(pred_atoms: Collection[int], ref_atoms: Collection[int]) -> tuple[Region, ...]:
    """Return the regions that two tables can both represent, given the atoms of each.

    Examples
    --------
    >>> everything = range(1, len(STRUCTURES))
    >>> len(regions_of(everything, everything))
    53
    >>> [region.name for region in regions_of(everything, TISSUE_ATOMS.values())][:3]
    ['Grey-Matter', 'Basal-Ganglia', 'White-Matter']
    """
    return tuple(region for region in REGIONS if region.is_known(pred_atoms) and region.is_known(ref_atoms))


def _regions() -> tuple[Region, ...]:
    sided: list[Region] = []
    merged: dict[str, Region] = {}
    for place, label in enumerate(STRUCTURES[1:], start=1):
        name = label.sideless
        one = frozenset({place})
        sided.append(Region(name, label.side or "midline", "structure", one, frozenset({one})))
        if label.side == "left":
            pair, unsided = frozenset({place, CLASS_OF_INDEX[label.mirror]}), frozenset({UNSIDED[name]})
            merged[name] = Region(name, "both", "merged", pair | unsided, frozenset({pair, unsided}))
    fs_csf = frozenset({FREESURFER_CSF_ATOM})
    sided.append(Region("CSF-FreeSurfer", "midline", "structure", fs_csf, frozenset({fs_csf})))

    tissues: list[Region] = []
    for tissue in TISSUES[1:]:
        # A table represents a tissue as one label, by structures with sides, or by structures without.
        whole = frozenset({TISSUE_ATOMS[tissue.index]})
        parts = [place for place, label in enumerate(STRUCTURES) if label.tissue == tissue.index]
        paired = {name: merged[name] for name in PAIRED if merged[name].atoms & set(parts)}
        atoms = frozenset(parts).union(whole, *(region.atoms for region in paired.values()))
        unsided = frozenset(UNSIDED[name] for name in paired)
        single = frozenset(part for part in parts if STRUCTURES[part].side is None)
        known = frozenset({whole, frozenset(parts), unsided | single})
        tissues.append(Region(tissue.name, "both", "tissue", atoms, known))
    brain_atoms = frozenset({BRAIN_ATOM}).union(*(region.atoms for region in tissues))
    by_structures = frozenset(place for place, label in enumerate(STRUCTURES) if label.tissue)
    by_unsided = frozenset(UNSIDED.values()) | {
        place for place, label in enumerate(STRUCTURES) if label.tissue and label.side is None
    }
    known = frozenset({frozenset({BRAIN_ATOM}), frozenset(TISSUE_ATOMS.values()), by_structures, by_unsided})
    brain = Region("Brain", "both", "brain", brain_atoms, known)
    return (*sided, *merged.values(), *tissues, brain)


#: Every region, in the order of tables.
REGIONS: tuple[Region, ...] = _regions()

#: Only in tables of volumes: no label map contains it, so that its overlap is not measured.
INTRACRANIAL = Region(TIV, "both", "brain", frozenset(), frozenset())
