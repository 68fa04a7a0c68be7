"""The files of one segmented scan: names, one writer at a time, all or nothing, and what resume may skip.

Everything is first written into a hidden folder beside the outputs, ``.<stem>.lodbrain``. Only when all of it is there
are the files renamed into place, the sidecar last: a set without its sidecar is unfinished. Whatever moment the process
is killed at, a later run with ``--resume`` finds either a complete set or redoes it; the hidden folder that a kill
leaves is emptied by the next run of the same scan, and removed at its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lodbrain.errors import InputError, OutputError
from lodbrain.inference.uninterrupted import uninterrupted
from lodbrain.labels import Label

if sys.platform != "win32":
    import fcntl

Json: TypeAlias = dict[str, Any]

#: Bytes of a file's name, on all file systems in common use.
LONGEST_NAME = 255


@dataclass(frozen=True)
class Outputs:
    """Where the files of one scan go.

    Attributes
    ----------
    folder : Path
        The output folder.
    stem : str
        The input's name without its ending.
    """

    folder: Path
    stem: str

    @property
    def labels(self) -> Path:
        """The label map."""
        return self.folder / f"{self.stem}_dseg.nii.gz"

    @property
    def table(self) -> Path:
        """Index, name and colour of the labels."""
        return self.folder / f"{self.stem}_dseg.tsv"

    @property
    def volumes(self) -> Path:
        """Volumes in mm^3."""
        return self.folder / f"{self.stem}_volumes.tsv"

    @property
    def posteriors(self) -> Path:
        """Posteriors, one volume per label; only on request."""
        return self.folder / f"{self.stem}_probseg.nii.gz"

    @property
    def posteriors_sidecar(self) -> Path:
        """Names of the posteriors' volumes, in their order."""
        return self.folder / f"{self.stem}_probseg.json"

    @property
    def report(self) -> Path:
        """The page to look at; made from the other files, and only on request."""
        return self.folder / f"{self.stem}_report.html"

    @property
    def sidecar(self) -> Path:
        """How the result was made; its presence says that the set is complete."""
        return self.folder / f"{self.stem}_dseg.json"

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, the sidecar last."""
        made = (self.labels, self.table, self.volumes, self.posteriors, self.posteriors_sidecar)
        return (*made, self.report, self.sidecar)

    def existing(self) -> list[Path]:
        """Return the files of the set that are there, complete or not."""
        return [path for path in self.all if os.path.lexists(path)]

    def is_complete(self, made_from: Json) -> bool:
        """Whether a finished set of the same input, model and settings is there.

        Parameters
        ----------
        made_from : dict
            What the sidecar must say, as `segment` writes it.
        """
        try:
            sidecar = json.loads(self.sidecar.read_text(encoding="utf-8"))
            files = dict(sidecar["files"])
            return {key: sidecar.get(key) for key in made_from} == made_from and all(
                (self.folder / name).stat().st_size == size for name, size in files.items()
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Give a hidden folder to write into, and keep other processes from writing the same set.

        Raises
        ------
        InputError
            If another process is at work on the same outputs, or their names would be too long.
        OutputError
            If the folder cannot be made.
        """
        if len(os.fsencode(self.posteriors.name)) > LONGEST_NAME:
            raise InputError("long-name", self.stem, "the names of its outputs would be too long", "Rename the scan")
        work = self._hidden
        lock = None
        try:
            with uninterrupted():
                lock = _lock(work)
            yield work
        except OutputError as error:  # names a file in the hidden folder, which is nothing to look for
            raise OutputError(error.code, self.labels, error.what, error.hint) from error
        except OSError as error:
            if lock is not None:
                raise
            if isinstance(error, BlockingIOError):
                hint = "Wait for it to end, or choose another output folder"
                raise InputError("busy", self.labels, "another process is writing this output", hint) from None
            raise _output_error(work, error) from error
        finally:
            if lock is not None:
                with uninterrupted():
                    shutil.rmtree(work, ignore_errors=True)
                    os.close(lock)

    def remove_unfinished(self) -> None:
        """Remove the hidden folder that a killed process left, unless another process is at work in it."""
        if self._hidden.exists():
            with self.claimed():
                pass

    @property
    def _hidden(self) -> Path:
        return self.folder / f".{self.stem}.lodbrain"

    def staged(self, work: Path, path: Path) -> Path:
        """Return where in `work` a file is written first: named without the stem, which may be long."""
        return work / path.name.removeprefix(f"{self.stem}_")

    def publish(self, work: Path) -> None:
        """Move finished files, named as in `staged`, from `work` into place.

        Files of an earlier run that are not made anew are removed: the set always belongs together.
        """
        try:
            with uninterrupted():
                self.sidecar.unlink(missing_ok=True)
                _sync(self.folder)
                for path in self.all:
                    if path == self.sidecar:
                        _sync(self.folder)  # the others are on the disk before the set counts as complete
                    if self.staged(work, path).exists():
                        os.replace(self.staged(work, path), path)
                    else:
                        path.unlink(missing_ok=True)
                _sync(self.folder)
        except OSError as error:
            raise _output_error(self.folder, error) from error

    def publish_report(self, work: Path) -> None:
        """Move the finished page, named as in `staged`, from `work` into place."""
        try:
            os.replace(self.staged(work, self.report), self.report)
            _sync(self.folder)
        except OSError as error:
            raise _output_error(self.folder, error) from error


def check_writable(folder: Path) -> None:
    """Make the output folder if need be, and write a file into it for a try.

    Raises
    ------
    OutputError
        If it is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lodbrain")
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError("not-a-folder", folder, "the output folder is a file", "Name a folder") from error
    except OSError as error:
        raise _output_error(folder, error) from error


def identities(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return the files that are there, by device and inode: the same for every link to one file."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(OSError):
            info = path.stat()
            found[info.st_dev, info.st_ino] = path
    return found


def check_not_an_input(outputs: Outputs, inputs: Mapping[tuple[int, int], Path]) -> None:
    """Refuse to write over an input, be it this scan or another one of the same command.

    Parameters
    ----------
    outputs : Outputs
    inputs : mapping
        From `identities`.

    Raises
    ------
    InputError
        If an output is, perhaps through links, one of the inputs.
    """
    for identity in identities(outputs.existing()):
        if identity in inputs:
            what = "this input would be overwritten"
            raise InputError("input-is-output", inputs[identity], what, "Choose another output folder")


def labels_tsv(table: Sequence[Label]) -> str:
    """Return a label table, without background, as the text of a TSV file in the form of BIDS.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> [line.split() for line in labels_tsv(BRAIN).splitlines()]
    [['index', 'name', 'color'], ['1', 'brain', '#cd3e4e']]
    """
    rows = [f"{label.index}\t{label.name}\t{label.hex_color}" for label in table if label.index]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a scan's file, as hex; of a NIfTI or Analyze pair, of both files in the order hdr, img.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in [path.with_suffix(".hdr"), path.with_suffix(".img")] if path.suffix in (".hdr", ".img") else [path]:
            if part.exists():  # a missing half is the reader's to name
                with part.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
        raise InputError("unreadable", path, what, "Check the file and its permissions") from error
    return digest.hexdigest()


def _lock(work: Path) -> int:
    """Open file descriptor that holds the lock on an emptied `work`; BlockingIOError if another process has it."""
    while True:
        work.mkdir(exist_ok=True)
        path = work / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # the holder has just finished and removed the folder
            continue
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(descriptor).st_ino:
                raise FileNotFoundError
        except FileNotFoundError:  # as above, between opening and locking
            os.close(descriptor)
            continue
        except OSError:
            os.close(descriptor)
            raise
        for left in work.iterdir():  # of a run that was killed
            if left != path:
                left.unlink()
        return descriptor


def _sync(folder: Path) -> None:
    """Wait until renames in a folder are on the disk."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _output_error(path: Path, error: OSError) -> OutputError:
    hint = "Free some space or choose another output folder"
    return OutputError("not-writable", path, f"cannot be written ({error.strerror or error})", hint)
