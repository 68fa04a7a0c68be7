"""Pairing of predictions with references in files, folders and BIDS trees, by file and folder names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from lodbrain.errors import InputError
from lodbrain.segmentation.inputs import IMAGE_SUFFIXES, NOT_LABELS, stem_of

#: Suffixes that name the kind of file, not the case: removed, in lower case.
_KIND = re.compile(
    r"dseg|seg|segmentation|labels?|labelmap|mask|brainmask|manual|gt|ref|reference|pred|prediction|synthseg|glm|0000"
    r"|aseg|wmparc|aparc(\.\w+)?\+aseg(\.deep)?"
)

#: Suffixes of scans. A file with one of them is used as a label map only if the case has no other file.
_SCAN = re.compile(r"t1w?|t2w?|flair|pdw|t2starw|unit1|mp2rage|ss|brain|orig|norm|nu|rawavg")

#: BIDS entities that describe the processing.
_HOW = ("desc-", "space-", "res-", "den-", "label-", "seg-", "atlas-", "segmentation-")

#: Folders whose names do not identify a case.
_PLACES = ("anat", "mri", "label", "labels", "seg", "derivatives")


@dataclass(frozen=True)
class MapPair:
    """A prediction and its reference, whose name gives the case."""

    case: str
    pred: Path
    ref: Path


@dataclass(frozen=True)
class Pairing:
    """Pairs; references without a prediction or with several candidates; and predictions without a reference."""

    pairs: tuple[MapPair, ...]
    problems: tuple[InputError, ...] = ()
    unused: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _File:
    """A label map with the words that identify its case."""

    path: Path
    folders: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def whole(self) -> tuple[str, ...]:
        # sub-01/ses-1/anat/sub-01_ses-1_dseg: a BIDS name is a complete identity, whatever its folders
        named = any(word.startswith("sub-") for word in self.words)
        return self.words if named else (*self.folders, *self.words)

    @property
    def is_named_like_a_scan(self) -> bool:
        return _SCAN.fullmatch(stem_of(self.path).lower().split("_")[-1]) is not None


def pair_up(pred: Path, ref: Path, *, pred_pattern: str | None = None, ref_pattern: str | None = None) -> Pairing:
    """Pair predictions with references.

    Two files are a pair whatever their names. Otherwise the words of a name, separated by ``_``, are compared without
    those that name the kind of file (``dseg``, ``T1w``, ``aparc+aseg``, ``desc-...``); names without any other word, as
    in FreeSurfer's ``sub-01/mri/aseg.mgz``, are identified by their folders. Where no two are equal, one name may be a
    prefix of the other, if the match is unique.

    Parameters
    ----------
    pred, ref : Path
        Files, or folders that are searched for NIfTI and MGH files.
    pred_pattern, ref_pattern : str, optional
        Shell pattern of the names, or with a ``/`` of the paths below the folder, to select files.

    Raises
    ------
    InputError
        If one of them does not exist or contains no label map.
    """
    preds, refs = _files(pred, pred_pattern), _files(ref, ref_pattern)
    if pred.is_file() and ref.is_file():
        return Pairing((MapPair(_case(refs[0]), pred, ref),))
    problems: list[InputError] = []
    preds, refs = _one_each(preds, "--pred-pattern", problems), _one_each(refs, "--ref-pattern", problems)
    rivals: dict[_File, list[_File]] = {}
    found: dict[_File, _File] = {}
    same: list[Callable[[_File, _File], bool]] = [
        lambda one, other: one.whole == other.whole,
        lambda one, other: bool(one.words) and one.words == other.words,
        lambda one, other: _begins(one.whole, other.whole) or _begins(other.whole, one.whole),
        lambda one, other: _begins(one.words, other.words) or _begins(other.words, one.words),
    ]
    for matches in same:
        free = [file for file in preds if file not in found.values()]
        for wanted in [file for file in refs if file not in found]:
            fitting = [file for file in free if matches(wanted, file)]
            rivals[wanted] = rivals.get(wanted) or fitting
            others = [file for file in refs if file not in found and fitting and matches(file, fitting[0])]
            if len(fitting) == 1 and others == [wanted]:
                found[wanted] = fitting[0]
                free.remove(fitting[0])
    for wanted in refs:
        if wanted not in found:
            problems.append(_unpaired(wanted, rivals[wanted], pred))
    pairs = tuple(MapPair(_case(file), found[file].path, file.path) for file in refs if file in found)
    unused = tuple(file.path for file in preds if file not in found.values())
    return Pairing(pairs, tuple(problems), unused)


def _files(given: Path, pattern: str | None) -> list[_File]:
    if given.is_dir():
        paths = sorted(_walk(given))
        if pattern is not None:
            paths = [path for path in paths if _fits(path.relative_to(given), pattern)]
        if not paths:
            what = "there is no label map in this folder" + (f" that fits {pattern!r}" if pattern else "")
            raise InputError("no-labels", given, what, f"Expected {', '.join(IMAGE_SUFFIXES)}")
        return [_named(path, path.parent.relative_to(given).parts) for path in paths]
    if not os.path.lexists(given):
        raise InputError("missing", given, "there is no such file or folder", "Check the spelling")
    return [_named(given, ())]


def _walk(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            is_image = not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
            if is_image and not stem_of(name).endswith(NOT_LABELS):
                yield Path(root, name)


def _fits(path: Path, pattern: str) -> bool:
    return fnmatchcase(path.as_posix() if "/" in pattern else path.name, pattern)


def _named(path: Path, folders: tuple[str, ...]) -> _File:
    words = [word for word in stem_of(path).split("_") if word and not word.lower().startswith(_HOW)]
    while words and (_KIND.fullmatch(words[-1].lower()) or _SCAN.fullmatch(words[-1].lower())):
        words.pop()
    return _File(path, tuple(name for name in folders if name.lower() not in _PLACES), tuple(words))


def _one_each(files: list[_File], option: str, problems: list[InputError]) -> list[_File]:
    """Return one file of each identity; add a problem where several label maps have the same identity."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[_File]] = {}
    for file in files:
        groups.setdefault((file.folders, file.words), []).append(file)
    kept = []
    for group in groups.values():
        labels = [file for file in group if not file.is_named_like_a_scan] or group
        if len(labels) == 1:
            kept.append(labels[0])
        else:
            names = ", ".join(file.path.name for file in labels[:4]) + (" ..." if len(labels) > 4 else "")
            hint = f"Choose with {option}, such as {option} '*{labels[0].path.name[-16:]}'"
            problems.append(InputError("ambiguous", labels[0].path.parent, f"{names} could all be meant", hint))
    return kept


def _begins(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return 0 < len(one) < len(other) and other[: len(one)] == one


def _case(file: _File) -> str:
    return "_".join(file.whole) or stem_of(file.path)


def _unpaired(file: _File, rivals: list[_File], pred: Path) -> InputError:
    if len(rivals) > 1:
        names = ", ".join(str(rival.path) for rival in rivals[:3])
        return InputError("ambiguous", file.path, f"several predictions could be meant: {names}", "Use --pred-pattern")
    if rivals:
        what = f"other references could be meant by {rivals[0].path} as well"
        return InputError("ambiguous", file.path, what, "Use --ref-pattern")
    return InputError("no-prediction", file.path, f"no label map in {pred} belongs to it", "Segment its scan first")
