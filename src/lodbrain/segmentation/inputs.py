"""Inputs of a command: files, folders and globs resolved to a list of scans with unique names for their results."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from lodbrain.errors import InputError, UsageError

#: Endings of the files that a folder is searched for.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".mgh.gz")

#: Endings of the two files of a pair. Folders are not searched for them, because each pair would be found twice.
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")

#: Of how many files of a folder without scans the first bytes are read, to tell whether they are DICOM.
_LOOKED_AT = 1000

#: Ends of names of our own outputs that are images but no label maps.
NOT_LABELS = ("_probseg", "_differ")
#: Ends of names that are our own outputs and no scans, so that a folder can be segmented or stripped twice.
OWN_OUTPUTS = ("_dseg", "_mask", *NOT_LABELS)


@dataclass(frozen=True)
class Scan:
    """One input file, or an input that cannot be segmented.

    Attributes
    ----------
    path : Path
        The file; for a folder without scans or a glob without matches, the input as given.
    problem : InputError or None
        Error that is known before any processing.
    folder : Path
        Folder of the results, relative to the output folder: the scan's folder relative to the common parent of all
        inputs if two inputs share a stem, else ``.``.
    also : tuple of Path
        Other names of the same file that were given or found.
    subject : str
        Name of the FreeSurfer subject whose scan it is; empty for other scans.
    """

    path: Path
    problem: InputError | None = None
    folder: Path = Path()
    also: tuple[Path, ...] = ()
    subject: str = ""

    @property
    def stem(self) -> str:
        """The name that the outputs begin with."""
        return self.subject or stem_of(self.path)

    @property
    def name(self) -> str:
        """The file's name, with its FreeSurfer subject and the folder of its results: unique among the inputs."""
        return (self.folder / self.subject / self.path.name).as_posix()


def stem_of(path: str | PathLike[str]) -> str:
    """Return a file's name without the suffix of its image format.

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
    """Return the scans named by files, folders (searched recursively) and globs, in order.

    Parameters
    ----------
    inputs : iterable of path
        In a folder, only NIfTI and MGH files count, hidden ones and our own label maps do not. Of a FreeSurfer subject,
        alone or below a folder, ``mri/T1.mgz`` counts, or else ``mri/orig.mgz``, under the subject's name. A file that
        is reached in several ways, by name or through links, is one scan, under the name that is no link.

    Returns
    -------
    list of Scan
        An input that is missing, or contains no scans, is a `Scan` with a `problem`.

    Raises
    ------
    UsageError
        If no input is given, or two scans of one folder have the same stem: their outputs would overwrite each other.

    Examples
    --------
    If all names are unique, the scans get no folders; otherwise they get their folders relative to the common parent of
    all inputs. (These files do not exist, which is reported in `Scan.problem` and not raised.)

    >>> [scan.name for scan in find_scans(["in/s1/T1.mgz", "in/s2/T2.mgz"])]
    ['T1.mgz', 'T2.mgz']
    >>> [scan.name for scan in find_scans(["in/s1/T1.mgz", "in/s2/T1.mgz", "in/s3/x/T2.mgz"])]
    ['s1/T1.mgz', 's2/T1.mgz', 's3/x/T2.mgz']
    """
    scans = [scan for given in inputs for scan in _expand(os.fspath(given))]
    if not scans:
        raise UsageError("no-input", None, "no INPUT was given", "Name a scan, a folder of scans, or a quoted glob")
    scans = _mirrored(_each_once(scans))
    first: dict[Path, Path] = {}
    for scan in scans:
        if scan.problem is None and first.setdefault(scan.folder / scan.stem, scan.path) is not scan.path:
            raise UsageError(
                "same-stem",
                scan.path,
                f"its outputs would have the same names as those of {first[scan.folder / scan.stem]}",
                "Run them with two different output folders, or name one of them",
            )
    return scans


def _each_once(scans: Iterable[Scan]) -> list[Scan]:
    """Return the scans, with several names of one file merged into one scan, at the position of the first."""
    groups: dict[object, list[Scan]] = {}
    for scan in scans:
        groups.setdefault(_identity(scan.path), []).append(scan)
    merged = []
    for group in groups.values():
        chosen = next((scan for scan in group if os.path.realpath(scan.path) == os.path.abspath(scan.path)), group[0])
        names = dict.fromkeys(os.path.abspath(scan.path) for scan in group)
        others = (Path(name) for name in names if name != os.path.abspath(chosen.path))
        merged.append(replace(chosen, also=tuple(others)))
    return merged


def _identity(path: Path) -> object:
    """Return a key that is equal for all names of a file, and for both files of a pair."""
    if path.suffix == ".img" and path.with_suffix(".hdr").is_file():
        path = path.with_suffix(".hdr")
    try:
        info = path.stat()
    except OSError:
        return os.path.abspath(path)
    # Not the inode alone: some network file systems give all files the same
    return (info.st_dev, info.st_ino) if info.st_nlink > 1 and not path.is_dir() else os.path.realpath(path)


def _mirrored(scans: Sequence[Scan]) -> list[Scan]:
    """Return the scans with the folders of their results.

    Missing files are included, so that the folders of results do not change when a broken link is repaired.
    """
    named = [scan for scan in scans if scan.problem is None or scan.path.name.lower().endswith(IMAGE_SUFFIXES)]
    if len({scan.stem for scan in named}) == len(named):
        return list(scans)
    folders = {scan.path: os.path.dirname(os.path.abspath(scan.path)) for scan in named}
    try:
        top = os.path.commonpath(folders.values())
    except ValueError as error:  # two drives of Windows
        what = "inputs of one name lie on different drives"
        raise UsageError("same-stem", None, what, "Run them with two different output folders") from error
    return [
        replace(scan, folder=Path(os.path.relpath(folders[scan.path], top))) if scan.path in folders else scan
        for scan in scans
    ]


def scan_of(path: Path) -> Scan:
    """Return one file as a scan, with a problem if it is missing, not a regular file, or DICOM."""
    if path.is_file():
        return Scan(path, _dicom(path) if _is_dicom(path) else None)
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
    """Yield every file below a folder, except in hidden folders; folders reached twice through links are read once."""
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
    """Return every scan below a folder."""
    found: list[Path] = []
    others: list[Path] = []
    for path in files_below(folder):
        (found if is_image(path.name) else others).append(path)
    if not found:
        if any(map(_is_dicom, sorted(others)[:_LOOKED_AT])):
            return [Scan(folder, _dicom(folder))]
        what = f"there are no scans ({', '.join(IMAGE_SUFFIXES)}) in this folder"
        return [_failed(folder, "no-scans", what, "Name another")]
    subjects = _subjects(found)
    scans = [replace(scan_of(path), subject=path.absolute().parents[1].name) for path in subjects.values()]
    scans += [scan_of(path) for path in found if subjects.keys().isdisjoint(path.parents)]
    return sorted(scans, key=lambda scan: scan.path)


def _subjects(files: Iterable[Path]) -> dict[Path, Path]:
    """FreeSurfer subjects among files: the folder of each, and its scan.

    T1.mgz and orig.mgz lie on the same grid, that of aseg.mgz; T1.mgz is corrected for the bias field.
    """
    mri = [path for path in files if path.absolute().parent.name == "mri"]
    subjects: dict[Path, Path] = {}
    for name in ("T1.mgz", "orig.mgz"):
        for path in mri:
            if path.name == name:
                subjects.setdefault(path.parent.parent, path)
    return subjects


def _is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its name or its first bytes; files named as NIfTI or MGH are not opened."""
    name = path.name.lower()
    if name.endswith((*IMAGE_SUFFIXES, ".hdr", ".img")):
        return False
    if name == "dicomdir" or name.endswith((".dcm", ".ima", ".dicom", ".zip")):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_dicom_input(scan: Scan) -> bool:
    """Whether an input is DICOM: a file, a zip archive, or a folder of DICOM without NIfTI or MGH scans."""
    return scan.problem is not None and scan.problem.code == "dicom"


def _dicom(path: Path) -> InputError:
    """The problem of DICOM for commands that do not read it; `lodbrain segment` does."""
    folder = path if path.is_dir() else path.parent
    what = "this is DICOM" if path.is_file() else "there are DICOM files in this folder but no NIfTI or MGH scan"
    hint = f"Convert the series to NIfTI, for example with: dcm2niix -z y -o OUT {folder}"
    return InputError("dicom", path, what, hint)


def is_image(name: str, *, but: tuple[str, ...] = OWN_OUTPUTS) -> bool:
    """Return whether a file's name is that of an image, neither hidden nor with a stem that ends in one of `but`."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES) and not stem_of(name).endswith(but)


def _failed(path: Path, code: str, what: str, hint: str) -> Scan:
    return Scan(path, InputError(code, path, what, hint))
