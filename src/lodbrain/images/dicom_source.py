"""DICOM files in a folder or a zip archive, opened one at a time and copied out under names of our own."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lodbrain.errors import InputError

#: A larger archive is a bomb if it grows by more than this. MRI in DICOM shrinks to a half or a third, masks and
#: empty margins included; text to a tenth.
_LARGEST_RATIO = 100

#: Smaller contents do no harm, whatever their ratio.
_HARMLESS_BYTES = 64 * 2**20

#: More files than a day of scanning makes.
_MOST_FILES = 500_000

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class DicomSource:
    """A folder or a zip archive, and the files in it that may be DICOM.

    Attributes
    ----------
    path : Path
        The folder or the archive; absolute, for another process may open it.
    names : tuple of str
        Files: absolute paths in the case of a folder, names inside of the archive.
    """

    path: Path
    names: tuple[str, ...]

    @property
    def is_archive(self) -> bool:
        """Whether the names are those of an archive."""
        return not self.path.is_dir()

    @contextmanager
    def opened(self) -> Iterator[OpenSource]:
        """Give access to the files.

        Raises
        ------
        InputError
            If the archive is damaged or gone.
        """
        if not self.is_archive:
            yield OpenSource(self, None)
            return
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield OpenSource(self, archive)
        except Exception as error:
            if not is_archive_fault(error):
                raise
            raise _damaged(self.path) from error


@dataclass(frozen=True)
class OpenSource:
    """A source whose archive, if it is one, is open."""

    source: DicomSource
    archive: zipfile.ZipFile | None

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Open one of the files for reading; OSError if it cannot be read."""
        with Path(name).open("rb") if self.archive is None else self.archive.open(name) as file:
            yield file

    def stage(self, names: Iterable[str], folder: Path) -> list[Path]:
        """Put files into a folder as 000001.dcm and so on: what an archive calls them is no path of ours.

        Files of a folder are linked, or copied where links are not possible.
        """
        staged = []
        for number, name in enumerate(names, 1):
            target = folder / f"{number:06d}.dcm"
            try:
                if self.archive is not None:
                    raise OSError
                target.symlink_to(Path(name).resolve())
            except OSError:
                with self.file(name) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            staged.append(target)
        return staged


def is_archive_fault(error: Exception) -> bool:
    """Whether this is what reading a damaged archive raises."""
    return isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError))


def folder_source(path: Path, files: Iterable[Path]) -> DicomSource:
    """Return files of a folder as a source."""
    return DicomSource(path.absolute(), tuple(os.path.abspath(file) for file in files))


def archive_source(path: Path) -> DicomSource:
    """Return the files of a zip archive as a source; nothing is unpacked.

    Raises
    ------
    InputError
        If the archive is damaged or encrypted, or its contents are out of all proportion to its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path) from error
    except OSError as error:
        hint = "Check the file and its permissions"
        raise InputError("unreadable", path, f"it cannot be read ({error.strerror})", hint) from error
    size = sum(member.file_size for member in members)
    if len(members) > _MOST_FILES or size > max(_HARMLESS_BYTES, _LARGEST_RATIO * path.stat().st_size):
        what = f"this archive of {path.stat().st_size} bytes claims to hold {len(members)} files of {size} bytes"
        raise InputError("zip-bomb", path, what, "Unpack it yourself if you trust it, and name the folder")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise InputError("encrypted", path, "this archive is encrypted", "Unpack it and name the folder")
    plain = [member.filename for member in members if not stat.S_ISLNK(member.external_attr >> 16)]
    return DicomSource(path.absolute(), tuple(plain))


def _damaged(path: Path) -> InputError:
    return InputError("damaged", path, "this zip archive is damaged", "Copy or export it again")
