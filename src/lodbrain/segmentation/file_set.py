"""Set of output files of one scan: locking, atomic publication, and completeness for resume.

All files are first written into a hidden folder beside the outputs, ``.<stem>.lodbrain``. When they are complete, they
are renamed into place, the sidecar last: a set without its sidecar is unfinished. If the process is killed at any time,
a later run with ``--resume`` finds a complete set or works on the scan again. A hidden folder left by a killed process
is emptied by the next run of the same scan, and removed at its end.

If the file system has no locks, each process uses its own hidden folder, ``.<stem>.<random>.lodbrain``. Two processes
that work on the same scan then waste time but do not corrupt the outputs; the folder of a killed process remains until
it is deleted by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lodbrain.errors import InputError, OutputError, shown
from lodbrain.system.atomic import replace, sync
from lodbrain.system.locks import take_lock
from lodbrain.system.signals import uninterrupted

Json: TypeAlias = dict[str, Any]

#: Largest number of bytes in a file name, on all file systems in common use.
LONGEST_NAME = 255


@dataclass(frozen=True)
class FileSet(ABC):
    """Output files of one scan, the last of which is a JSON sidecar that records the others.

    `folder` is that of the sidecar, `stem` the beginning of the files' names.
    """

    folder: Path
    stem: str

    @property
    @abstractmethod
    def main(self) -> Path:
        """The file that errors name."""

    @property
    @abstractmethod
    def sidecar(self) -> Path:
        """Provenance of the result; its presence marks the set as complete."""

    @property
    @abstractmethod
    def all(self) -> tuple[Path, ...]:
        """Every file that may belong to the set, the sidecar last."""

    @property
    def wanted(self) -> tuple[Path, ...]:
        """Files without which the set is not complete."""
        return (self.main,)

    def existing(self) -> list[Path]:
        """Return the files of the set that exist, complete or not."""
        return [path for path in self.all if os.path.lexists(path)]

    def is_complete(self, made_from: Json) -> bool:
        """Return whether a finished set of the same input, model and settings (`sidecar.made_from`) exists.

        Raises
        ------
        InputError
            If a finished set of another input, model or settings exists, with the differences.
        """
        sidecar = self._finished()
        if sidecar is not None and (found := _differences(sidecar, made_from)):
            what = f"this result has another model, other settings or another scan ({'; '.join(found)})"
            hint = "Use --overwrite to replace it, or choose another output folder"
            raise InputError("made-otherwise", self.main, what, hint)
        return sidecar is not None

    def _finished(self) -> Json | None:
        """Return the sidecar of a set whose files all exist with the recorded sizes, else None."""
        try:
            sidecar: Json = json.loads(self.sidecar.read_text(encoding="utf-8"))
            names = {shown(path.name): path for path in self.all}
            whole = all(names[name].stat().st_size == size for name, size in dict(sidecar["files"]).items())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        wanted = {shown(path.name) for path in self.wanted}
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
        if max(len(os.fsencode(path.name)) for path in self.all) > LONGEST_NAME:
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
            raise OutputError(error.code, self.main, error.what, error.hint) from error
        except OSError as error:
            if lock is not None or work != self._hidden:
                raise
            if isinstance(error, BlockingIOError):
                hint = "Wait for it to end, or choose another output folder"
                raise InputError("busy", self.main, "another process is writing this output", hint) from None
            raise output_error(work, error) from error
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
            raise output_error(self.folder, error) from error


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


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error of a file or folder that cannot be written."""
    hint = "Free some space or choose another output folder"
    return OutputError("not-writable", path, f"cannot be written ({error.strerror or error})", hint)
