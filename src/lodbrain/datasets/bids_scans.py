"""Discovery and selection of scans in a BIDS dataset, and names of their derivatives.

bids2table is not used: it returned nothing for a folder with a dot in its name and 41 copies of each file with a
circular link, and it needs 170 MB of pyarrow. Names of anatomical scans are simple enough to be parsed here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lodbrain.errors import InputError, UsageError

#: Suffixes of T1-weighted scans, used unless a filter names others: T1w, and MP2RAGE's uniform image. T1map is excluded
#: because its contrast is inverted, MP2RAGE because it denotes the single inversion images.
T1W_LIKE = ("T1w", "UNIT1")

#: Image extensions allowed by BIDS.
_EXTENSIONS = (".nii.gz", ".nii")

#: Entity key in file names -> name in filters, in the order of file names (BIDS 1.11, for anatomy and derivatives).
ENTITIES = {
    "sub": "subject", "ses": "session", "sample": "sample", "task": "task", "acq": "acquisition", "ce": "ceagent",
    "rec": "reconstruction", "dir": "direction", "run": "run", "mod": "modality", "echo": "echo", "flip": "flip",
    "inv": "inversion", "mt": "mtransfer", "part": "part", "proc": "processing", "hemi": "hemisphere", "space": "space",
    "split": "split", "recording": "recording", "chunk": "chunk", "atlas": "atlas", "seg": "segmentation",
    "scale": "scale", "res": "resolution", "den": "density", "label": "label", "desc": "description",
}  # fmt: skip

#: Parts of a complex-valued image other than the magnitude.
_NOT_MAGNITUDE = ("phase", "real", "imag")

#: Entities of resampled copies of an image in other spaces or resolutions. ``cohort`` belongs to ``space``.
_SPACE = ("space", "cohort", "res", "den")

#: Values in fMRIPrep's filters that mean "has none" and "has any".
_NONE, _ANY = (None, "Query.NONE", "<Query.NONE: 1>"), ("*", "Query.ANY", "<Query.ANY: 2>")

_LABEL = re.compile(r"[A-Za-z0-9+]+")


@dataclass(frozen=True)
class BidsScan:
    """One scan of a dataset.

    Attributes
    ----------
    relative : str
        Path relative to the dataset, with forward slashes.
    entities : dict of str to str
        Entity key -> value, in the order of the file name.
    suffix : str
        Such as ``"T1w"``.
    problem : InputError or None
        Error because of which it cannot be segmented.
    """

    path: Path
    relative: str
    entities: Mapping[str, str]
    suffix: str
    problem: InputError | None = None

    @property
    def folder(self) -> Path:
        """Folder of its results in a derivative dataset: the same as that of the scan in the raw dataset."""
        return Path(self.relative).parent

    @property
    def stem(self) -> str:
        """Beginning of the names of its results.

        The scan's suffix becomes part of ``desc``, so that names of two contrasts in a session differ.

        Examples
        --------
        >>> scan_at("sub-01_ses-1_run-2_T1w.nii.gz").stem
        'sub-01_ses-1_run-2_seg-lodbrain_desc-T1w'
        >>> scan_at("sub-01_space-MNI_res-1_desc-preproc_T1w.nii.gz").stem
        'sub-01_space-MNI_seg-lodbrain_res-1_desc-preprocT1w'
        """
        entities = {**self.entities, "seg": "lodbrain", "desc": self.entities.get("desc", "") + self.suffix}
        place = {name: number for number, name in enumerate(ENTITIES)}
        names = sorted(entities, key=lambda name: place.get(name, place["chunk"]))
        return "_".join(f"{name}-{entities[name]}" for name in names)


@dataclass(frozen=True)
class Choice:
    """Selection of scans in a dataset: labels without ``sub-`` and ``ses-``, empty for all, and filters.

    `filters` are by name of an entity, ``suffix``, ``extension`` or ``datatype``: a value, a list of values, None (has
    none) or ``"*"`` (has any).
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """Selected scans of a dataset.

    Attributes
    ----------
    scans : tuple of BidsScan
        Sorted by participant, session and name, including those with a problem.
    without : tuple of str
        Participants without a selected scan, such as ``"sub-01"``, unless they were selected by name.
    copies : tuple of (BidsScan, BidsScan)
        Scans excluded as copies in another space or resolution, each with the original in `scans`.
    """

    scans: tuple[BidsScan, ...]
    without: tuple[str, ...]
    copies: tuple[tuple[BidsScan, BidsScan], ...] = ()


def labels(given: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Return unique labels without their prefix.

    Raises
    ------
    UsageError
        If a label contains other characters than letters, digits and ``+``.

    Examples
    --------
    >>> labels(["sub-01", "02", "01"], "sub")
    ('01', '02')
    """
    bare = tuple(dict.fromkeys(text.removeprefix(f"{prefix}-") for text in given))
    for label in bare:
        if not _LABEL.fullmatch(label):
            raise UsageError("label", None, f"{label!r} is no label of BIDS", "Labels have letters and digits only")
    return bare


def read_filter(path: Path) -> dict[str, Any]:
    """Return the filter of T1w images in a filter file of fMRIPrep's format: its entry ``t1w``.

    Raises
    ------
    UsageError
        If the file cannot be read, is not a JSON filter, or names an unknown entity.
    """
    hint = 'Expected JSON such as {"t1w": {"acquisition": "mprage", "run": [1, 2]}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("filter", path, f"it cannot be read ({error.strerror})", "Check its name") from error
    except ValueError as error:
        raise UsageError("filter", path, f"it is not JSON ({error})", hint) from error
    wanted = content.get("t1w", {}) if isinstance(content, dict) else None
    if not isinstance(wanted, dict):
        raise UsageError("filter", path, "it is no filter of queries", hint)
    for name in wanted:
        if name not in (*ENTITIES, *ENTITIES.values(), "suffix", "extension", "datatype"):
            raise UsageError("filter", path, f"there is no entity {name!r} in BIDS", hint)
    return {ENTITIES.get(str(name), str(name)): value for name, value in wanted.items()}


def find_bids_scans(root: Path, choice: Choice | None = None) -> Found:
    """Return the T1w-like scans of a BIDS dataset.

    Only ``sub-*/[ses-*/]anat`` is searched, so circular links are harmless. Of a scan and its copies in other spaces
    (``space-MNI152NLin2009cAsym_res-2``, as written by fMRIPrep), the scan in its native space is selected, or the
    first copy if there is none, unless a filter names ``space`` or ``resolution``.

    Raises
    ------
    InputError
        If the folder does not exist, or has no participants.
    """
    choice = choice or Choice()
    if not root.is_dir():
        what = "this is not a folder" if os.path.lexists(root) else "there is no such folder"
        raise InputError("no-data-set", root, what, "Name the folder of a BIDS dataset")
    people = sorted(entry.name for entry in os.scandir(root) if re.fullmatch(f"sub-{_LABEL.pattern}", entry.name))
    if not people:
        hint = "Name the folder of a BIDS dataset, or use `lodbrain segment` for plain folders"
        raise InputError("no-participants", root, "there are no participants (sub-*) in this folder", hint)
    scans, without = [], []
    for person in [f"sub-{label}" for label in choice.participants] or people:
        if person not in people:
            missing = InputError("no-participant", root / person, "there is no such participant", "Check the label")
            scans.append(BidsScan(root / person, person, {"sub": person[4:]}, "T1w", missing))
            continue
        own = [scan for folder in _sessions(root / person, choice) for scan in _scans(root, folder, choice)]
        scans += own
        if not own and choice.participants:
            what = "no T1w-like scan of this participant is selected"
            problem = InputError("no-scan", root / person, what, "Check sessions and filters")
            scans.append(BidsScan(root / person, person, {"sub": person[4:]}, "T1w", problem))
        elif not own:
            without.append(person)
    if {"space", "resolution"} & set(choice.filters):
        return Found(tuple(scans), tuple(without))
    groups: dict[object, list[BidsScan]] = {}
    for scan in scans:
        same = tuple(pair for pair in scan.entities.items() if pair[0] not in _SPACE)
        groups.setdefault((scan.folder, same, scan.suffix), []).append(scan)
    copy_of: dict[str, BidsScan] = {}
    for group in groups.values():
        # names without these entities are native; files that differ only in their extension are not copies
        native = min(group, key=lambda scan: sum(name in scan.entities for name in _SPACE))
        copy_of |= {scan.relative: native for scan in group if scan.entities != native.entities}
    kept = tuple(scan for scan in scans if scan.relative not in copy_of)
    copies = tuple((scan, copy_of[scan.relative]) for scan in scans if scan.relative in copy_of)
    return Found(kept, tuple(without), copies)


def scan_at(relative: str, root: Path = Path()) -> BidsScan:
    """Return a scan with the entities parsed from its name; `relative` is its path in the dataset."""
    name = relative.rsplit("/", 1)[-1]
    stem = next((name[: -len(end)] for end in _EXTENSIONS if name.endswith(end)), name)
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    return BidsScan(root / relative, relative, entities, suffix)


def _sessions(person: Path, choice: Choice) -> list[Path]:
    """Return the folders that may contain a participant's ``anat``: its sessions, and its own folder."""
    try:
        names = sorted(entry.name for entry in os.scandir(person) if entry.name.startswith("ses-"))
    except OSError:  # a broken or circular link
        return []
    wanted = [name for name in names if not choice.sessions or name[4:] in choice.sessions]
    return [person / name for name in wanted] + ([] if choice.sessions else [person])


def _scans(root: Path, folder: Path, choice: Choice) -> list[BidsScan]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder / "anat"))
    except OSError:
        return []
    place = (folder / "anat").relative_to(root).as_posix()
    found = [scan_at(f"{place}/{name}", root) for name in names if name.endswith(_EXTENSIONS) and name[0] != "."]
    return [_checked(scan) for scan in found if _matches(scan, choice.filters)]


def _matches(scan: BidsScan, filters: Mapping[str, Any]) -> bool:
    has: dict[str, str] = {ENTITIES.get(name, name): value for name, value in scan.entities.items()}
    has |= {"suffix": scan.suffix, "datatype": "anat", "extension": scan.path.name[scan.path.name.find(".") :]}
    if "suffix" not in filters and scan.suffix not in T1W_LIKE:
        return False
    if "part" not in filters and has.get("part") in _NOT_MAGNITUDE:
        return False
    return all(_fits(has.get(name), wanted) for name, wanted in filters.items())


def _fits(value: str | None, wanted: Any) -> bool:
    """Return whether an entity's value, None if the name does not have the entity, matches a filter."""
    options = wanted if isinstance(wanted, list) else [wanted]
    if value is None:
        return any(option in _NONE for option in options)
    number = int(value) if value.isdecimal() else None  # the integer 1 matches 01
    return any(option in _ANY or option == (number if type(option) is int else value) for option in options)


def _checked(scan: BidsScan) -> BidsScan:
    """Return the scan with a problem that is known before it is read, if any."""
    person, session = (scan.entities.get(name) for name in ("sub", "ses"))
    expected = "_".join(part for part in scan.folder.parts if part.startswith(("sub-", "ses-")))
    named = f"sub-{person}" + (f"_ses-{session}" if session is not None else "")
    problem = None
    if named != expected:
        problem = InputError("misplaced", scan.path, f"its name says {named}, its folder {expected}", "Rename one")
    elif not scan.path.exists():
        if scan.path.is_symlink():
            annexed = "annex" in os.readlink(scan.path)
            what = "its content is not here (a git-annex link)" if annexed else "this link points to no file"
            hint = f"Run: datalad get {scan.path}" if annexed else "Repair the link"
            problem = InputError("broken-link", scan.path, what, hint)
        else:
            problem = InputError("missing", scan.path, "there is no such file", "Is it being changed?")
    return replace(scan, problem=problem)
