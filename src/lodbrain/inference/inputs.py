"""What the user names, files, folders or globs, as a list of scans with unique stems."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lodbrain.errors import InputError, UsageError

#: What a folder is searched for.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".mgh.gz")

#: Parts of a pair, which a folder is not searched for: each would be found twice.
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")

#: Ends of names that are our own outputs, so that a folder can be segmented twice.
OWN_OUTPUTS = ("_dseg", "_probseg")


@dataclass(frozen=True)
class Scan:
    """One input: a file, and what is already known to be wrong with it.

    Attributes
    ----------
    path : Path
        The file; for a folder without scans or a glob without matches, what the user wrote.
    problem : InputError or None
        Why this input fails before any work.
    """

    path: Path
    problem: InputError | None = None

    @property
    def stem(self) -> str:
        """The name that the outputs begin with."""
        return stem_of(self.path)


def stem_of(path: str | PathLike[str]) -> str:
    """Return a file's name without the ending of an image format.

    Examples
    --------
    >>> stem_of("in/sub-01_T1w.nii.gz"), stem_of("orig.mgz"), stem_of("a.b.nii"), stem_of("x.img.gz")
    ('sub-01_T1w', 'orig', 'a.b', 'x')
    """
    name = Path(path).name
    for suffix in (*IMAGE_SUFFIXES, *PAIR_SUFFIXES):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def find_scans(inputs: Iterable[str | PathLike[str]]) -> list[Scan]:
    """Return the scans that files, folders (recursive) and globs stand for, in order.

    Parameters
    ----------
    inputs : iterable of path
        In a folder, only NIfTI and MGH files count, hidden ones and our own label maps do not.

    Returns
    -------
    list of Scan
        An input that is missing, or has no scans in it, is a `Scan` with a `problem`.

    Raises
    ------
    UsageError
        If no input is given, or two scans have the same stem: their outputs would overwrite each other.
    """
    scans = [scan for given in inputs for scan in _expand(os.fspath(given))]
    if not scans:
        raise UsageError("no-input", None, "no INPUT was given", "Name a scan, a folder of scans, or a quoted glob")
    first: dict[str, Path] = {}
    for scan in scans:
        if scan.problem is None and first.setdefault(scan.stem, scan.path) is not scan.path:
            raise UsageError(
                "same-stem",
                scan.path,
                f"its outputs would have the same names as those of {first[scan.stem]}",
                "Run them with two different output folders, or name each scan once",
            )
    return scans


def scan_of(path: Path) -> Scan:
    """Return one file as a scan, with a problem if there is no such file."""
    if path.is_file():
        return Scan(path)
    if path.is_symlink():
        hint = "If it belongs to a DataLad dataset, run `datalad get` on it"
        return _failed(path, "broken-link", "this link points to no file", hint)
    if path.exists():
        return _failed(path, "not-a-file", "this is no regular file", "Name a NIfTI or MGZ file")
    return _failed(path, "missing", "there is no such file or folder", "Check the spelling")


def _expand(given: str) -> list[Scan]:
    matches = [given]
    if glob.has_magic(given) and not os.path.lexists(given):
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            return [_failed(Path(given), "no-match", "no file matches this pattern", "Check the spelling")]
    paths = [Path(match) for match in matches]
    return [scan for path in paths for scan in (_folder(path) if path.is_dir() else [scan_of(path)])]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, hidden folders left out; folders that links lead to a second time, too."""
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        info = os.stat(root)
        if (info.st_dev, info.st_ino) in seen:
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in files)


def _folder(folder: Path) -> list[Scan]:
    """Every scan below a folder."""
    found = [path for path in files_below(folder) if _is_scan(path.name)]
    if not found:
        what = f"there are no scans ({', '.join(IMAGE_SUFFIXES)}) in this folder"
        return [_failed(folder, "no-scans", what, "Name another")]
    return [scan_of(path) for path in sorted(found)]


def _is_scan(name: str) -> bool:
    return (
        not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES) and not stem_of(name).endswith(OWN_OUTPUTS)
    )


def _failed(path: Path, code: str, what: str, hint: str) -> Scan:
    return Scan(path, InputError(code, path, what, hint))
