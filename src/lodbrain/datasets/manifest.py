"""Manifest of a download folder: size, hashes and server version of each file, as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lodbrain.system.atomic import write_text
from lodbrain.version import __version__

#: A hidden file, so that BIDS tools ignore it.
NAME = ".lodbrain-fetch.json"
_SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class Entry:
    """Record of one file.

    Attributes
    ----------
    size : int
        Bytes.
    sha256, md5 : str
        Hashes of the file on disk.
    etag : str
        ETag from the server at the time of download.
    version_id : str
        S3 version of the object, which ``?versionId=`` requests again. Empty if the server gave none.
    verified : {"md5", "size"}
        Property that was verified against the publisher's listing.
    """

    size: int
    sha256: str
    md5: str
    etag: str
    version_id: str
    verified: str


@dataclass(eq=False)
class Manifest:
    """Record of a folder, read at the start and updated as files are downloaded.

    Attributes
    ----------
    dataset : dict
        Accession, version and the evidence for the version.
    entries : dict of str to Entry
        By file name relative to the folder.
    """

    folder: Path
    dataset: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    _saved: float = field(default=0.0, repr=False)

    @property
    def path(self) -> Path:
        """Path of the JSON file."""
        return self.folder / NAME

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the record of a folder; an empty one if it is missing or invalid."""
        found = cls(folder)
        try:
            content = json.loads(found.path.read_text(encoding="utf-8"))
            found.entries = {str(name): Entry(**entry) for name, entry in content["files"].items()}
            found.dataset = dict(content["dataset"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(folder)
        return found

    def add(self, name: str, entry: Entry) -> None:
        """Record a file; the manifest is saved at most every five seconds."""
        self.entries[name] = entry
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the manifest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "software": "lodbrain",
            "version": __version__,
            "dataset": self.dataset,
            "files": {name: asdict(self.entries[name]) for name in sorted(self.entries)},
        }
        write_text(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        self._saved = time.monotonic()
