"""What was downloaded into a folder: sizes, hashes and the server's version of each file, as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lodbrain.system.atomic import write_text
from lodbrain.version import __version__

#: Hidden, so that BIDS tools pass over it.
NAME = ".lodbrain-fetch.json"
_SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes
    ----------
    size : int
        Bytes.
    sha256, md5 : str
        Of the file on the disk.
    etag : str
        The server's, when the file was downloaded.
    version_id : str
        The server's name for that state of the object; with ``?versionId=`` it can be had again. Empty if unknown.
    verified : {"md5", "size"}
        What agreed with the publisher's listing.
    """

    size: int
    sha256: str
    md5: str
    etag: str
    version_id: str
    verified: str


@dataclass(eq=False)
class Manifest:
    """The record of a folder; it is read at the start and written as files come.

    Attributes
    ----------
    folder : Path
    dataset : dict
        Accession, version and how the version is known.
    entries : dict of str to Entry
        By the file's name below the folder.
    """

    folder: Path
    dataset: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    _saved: float = field(default=0.0, repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The record of a folder; an empty one where there is none, or none that can be read."""
        found = cls(folder)
        try:
            content = json.loads(found.path.read_text(encoding="utf-8"))
            found.entries = {str(name): Entry(**entry) for name, entry in content["files"].items()}
            found.dataset = dict(content["dataset"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(folder)
        return found

    def add(self, name: str, entry: Entry) -> None:
        """Record a file; the disk follows within a few seconds."""
        self.entries[name] = entry
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "software": "lodbrain",
            "version": __version__,
            "dataset": self.dataset,
            "files": {name: asdict(self.entries[name]) for name in sorted(self.entries)},
        }
        write_text(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        self._saved = time.monotonic()
