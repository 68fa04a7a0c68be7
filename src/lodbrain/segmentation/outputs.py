"""Output files of one scan: names, locking, atomic publication, and completeness for resume.

All files are first written into a hidden folder beside the outputs, ``.<stem>.lodbrain``. When they are complete, they
are renamed into place, the sidecar last: a set without its sidecar is unfinished. If the process is killed at any time,
a later run with ``--resume`` finds a complete set or segments the scan again. A hidden folder left by a killed process
is emptied by the next run of the same scan, and removed at its end.

If the file system has no locks, each process uses its own hidden folder, ``.<stem>.<random>.lodbrain``. Two processes
that segment the same scan then waste time but do not corrupt the outputs; the folder of a killed process remains until
it is deleted by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lodbrain.errors import InputError, OutputError, shown
from lodbrain.labels import Label
from lodbrain.system.atomic import replace, sync
from lodbrain.system.locks import take_lock
from lodbrain.system.signals import uninterrupted

Json: TypeAlias = dict[str, Any]
LabelFormat: TypeAlias = Literal["nifti", "mgz"]

_ENDING: dict[LabelFormat, str] = {"nifti": ".nii.gz", "mgz": ".mgz"}

#: Largest number of bytes in a file name, on all file systems in common use.
LONGEST_NAME = 255


@dataclass(frozen=True)
class Outputs:
    """Names of the output files of one scan.

    Attributes
    ----------
    folder : Path
        The output folder.
    stem : str
        The input's name without its ending.
    label_format : {"nifti", "mgz"}
        Of the label map and the posteriors.
    with_dicom_seg : bool
        Whether a DICOM Segmentation belongs to the set.
    """

    folder: Path
    stem: str
    label_format: LabelFormat = "nifti"
    with_dicom_seg: bool = False

    @property
    def labels(self) -> Path:
        """The label map."""
        return self.folder / f"{self.stem}_dseg{_ENDING[self.label_format]}"

    @property
    def dicom_seg(self) -> Path:
        """The label map as a DICOM Segmentation; only on request."""
        return self.folder / f"{self.stem}_dseg.dcm"

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
        return self.folder / f"{self.stem}_probseg{_ENDING[self.label_format]}"

    @property
    def posteriors_sidecar(self) -> Path:
        """Names of the posteriors' volumes, in their order."""
        return self.folder / f"{self.stem}_probseg.json"

    @property
    def disagreement(self) -> Path:
        """Mask of where the members of a consensus see different tissues; with posteriors or a page only."""
        return self.folder / f"{self.stem}_differ.nii.gz"

    @property
    def report(self) -> Path:
        """Report page, made from the other files; only on request."""
        return self.folder / f"{self.stem}_report.html"

    @property
    def sidecar(self) -> Path:
        """Provenance of the result; its presence marks the set as complete."""
        return self.folder / f"{self.stem}_dseg.json"

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, the label map first, then those of the other format, the sidecar last."""
        other = replace_field(self, label_format="mgz" if self.label_format == "nifti" else "nifti")
        maps = (self.labels, other.labels, self.dicom_seg, self.table, self.volumes)
        soft = (self.posteriors, other.posteriors, self.posteriors_sidecar, self.disagreement)
        return (*maps, *soft, self.report, self.sidecar)

    def existing(self) -> list[Path]:
        """Return the files of the set that exist, complete or not."""
        return [path for path in self.all if os.path.lexists(path)]

    def is_complete(self, made_from: Json) -> bool:
        """Return whether a finished set of the same input, model and settings exists.

        Parameters
        ----------
        made_from : dict
            Fields that the sidecar must contain, from `sidecar.made_from`.
        """
        sidecar = self._finished()
        return sidecar is not None and not _differences(sidecar, made_from)

    def check_made_from(self, made_from: Json) -> None:
        """Raise an error if a finished set of another input, model or settings exists.

        Raises
        ------
        InputError
            With the differences.
        """
        sidecar = self._finished()
        if sidecar is not None and (found := _differences(sidecar, made_from)):
            what = f"this result was made otherwise ({'; '.join(found)})"
            hint = "Use --overwrite to replace it, or choose another output folder"
            raise InputError("made-otherwise", self.labels, what, hint)

    def _finished(self) -> Json | None:
        """Return the sidecar of a set whose files all exist with the recorded sizes, else None."""
        try:
            sidecar: Json = json.loads(self.sidecar.read_text(encoding="utf-8"))
            names = {shown(path.name): path for path in self.all}
            whole = all(names[name].stat().st_size == size for name, size in dict(sidecar["files"]).items())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        wanted = {shown(self.labels.name), *([shown(self.dicom_seg.name)] if self.with_dicom_seg else [])}
        return sidecar if whole and wanted <= set(sidecar["files"]) else None

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Yield a hidden folder to write into, locked against other processes that write the same set.

        On a file system without locks the folder is not locked, but has a name that no other process uses.

        Raises
        ------
        InputError
            If another process is writing the same outputs, or their names would be too long.
        OutputError
            If the folder cannot be created.
        """
        if len(os.fsencode(self.posteriors.name)) > LONGEST_NAME:
            raise InputError("long-name", self.stem, "the names of its outputs would be too long", "Rename the scan")
        work = self._hidden
        lock = None
        try:
            with uninterrupted():
                lock = take_lock(work)
                if lock is None:
                    work = self.folder / f".{self.stem}.{secrets.token_hex(2)}.lodbrain"
                    work.mkdir()
            yield work
        except OutputError as error:  # its path is in the hidden folder, which is removed
            raise OutputError(error.code, self.labels, error.what, error.hint) from error
        except OSError as error:
            if lock is not None or work != self._hidden:
                raise
            if isinstance(error, BlockingIOError):
                hint = "Wait for it to end, or choose another output folder"
                raise InputError("busy", self.labels, "another process is writing this output", hint) from None
            raise _output_error(work, error) from error
        finally:
            if lock is not None or work != self._hidden:
                with uninterrupted():
                    shutil.rmtree(work, ignore_errors=True)
                    if lock is not None:
                        os.close(lock)

    def weaker(self, work: Path) -> tuple[str, ...]:
        """Return notes on features that the file system of a claimed folder lacks, and their consequences."""
        notes = []
        if work != self._hidden:
            notes.append("The output's file system has no locks: another process may have written the same results.")
        if not sync(work):
            notes.append("The output's file system cannot sync: a power failure may have cost a part of the results.")
        return tuple(notes)

    def remove_unfinished(self) -> None:
        """Remove the hidden folder left by a killed process, unless another process is using it."""
        if self._hidden.exists():
            with self.claimed():
                pass

    @property
    def _hidden(self) -> Path:
        return self.folder / f".{self.stem}.lodbrain"

    def staged(self, work: Path, path: Path) -> Path:
        """Return the temporary path of a file in `work`: named without the stem, which may be long."""
        return work / path.name.removeprefix(f"{self.stem}_")

    def publish(self, work: Path) -> None:
        """Move finished files, named as in `staged`, from `work` into place.

        Other files of an earlier run are removed, so that all files of a set come from one run.
        """
        try:
            with uninterrupted():
                self.sidecar.unlink(missing_ok=True)
                sync(self.folder)
                for path in self.all:
                    if path == self.sidecar:
                        sync(self.folder)  # the other files are on disk before the set counts as complete
                    if self.staged(work, path).exists():
                        replace(self.staged(work, path), path)
                    else:
                        path.unlink(missing_ok=True)
                sync(self.folder)
        except OSError as error:
            raise _output_error(self.folder, error) from error

    def publish_report(self, work: Path) -> None:
        """Move the finished report page, named as in `staged`, from `work` into place."""
        try:
            replace(self.staged(work, self.report), self.report)
            sync(self.folder)
        except OSError as error:
            raise _output_error(self.folder, error) from error


def _differences(sidecar: Json, made_from: Json) -> list[str]:
    """Return the differences of a sidecar, such as ``"labels: structures, now tissue"``."""
    found = []
    for key, wanted in made_from.items():
        there = sidecar.get(key)
        if isinstance(there, dict) and isinstance(wanted, dict):
            names = [name for name in wanted if there.get(name) != wanted[name]]
            hashes = [name for name in names if name == "sha256"]
            found += [f"{name}: {there.get(name)}, now {wanted[name]}" for name in names if name != "sha256"]
            found += [f"the {key} has changed" for _ in hashes]
        elif there != wanted:
            found.append(f"{key}: {there}, now {wanted}")
    return found


def check_writable(folder: Path) -> None:
    """Create the output folder if needed, and check by a temporary file that it can be written to.

    Raises
    ------
    OutputError
        If it is a file, or cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".lodbrain-{secrets.token_hex(6)}"  # named: some file systems have no unnamed files
        try:
            trial.write_bytes(b"lodbrain")
        finally:
            with suppress(OSError):
                trial.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError("not-a-folder", folder, "the output folder is a file", "Name a folder") from error
    except OSError as error:
        raise _output_error(folder, error) from error


def identities(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return the existing files, by device and inode, which are the same for every link to one file."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(OSError):
            info = path.stat()
            found[info.st_dev, info.st_ino] = path
    return found


def check_not_an_input(outputs: Outputs, inputs: Mapping[tuple[int, int], Path]) -> None:
    """Raise an error if an output would overwrite an input of the same command.

    Parameters
    ----------
    outputs : Outputs
    inputs : mapping
        From `identities`.

    Raises
    ------
    InputError
        If an output is one of the inputs, directly or through links.
    """
    for identity in identities(outputs.existing()):
        if identity in inputs:
            what = "this input would be overwritten"
            raise InputError("input-is-output", inputs[identity], what, "Choose another output folder")


def labels_tsv(table: Sequence[Label]) -> str:
    """Return a label table, without background, as the text of a TSV file in BIDS format.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> [line.split() for line in labels_tsv(BRAIN).splitlines()]
    [['index', 'name', 'color'], ['1', 'brain', '#cd3e4e']]
    """
    rows = [f"{label.index}\t{label.name}\t{label.hex_color}" for label in table if label.index]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def _output_error(path: Path, error: OSError) -> OutputError:
    hint = "Free some space or choose another output folder"
    return OutputError("not-writable", path, f"cannot be written ({error.strerror or error})", hint)
