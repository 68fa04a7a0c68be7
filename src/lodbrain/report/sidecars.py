"""Reading of finished results and their sidecars, whose content is not trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lodbrain.errors import InputError
from lodbrain.labels import Label
from lodbrain.segmentation.file_set import Json
from lodbrain.system.hashing import sha256_of
from lodbrain.system.records import read_tsv

#: Suffix of sidecar names, for which folders are searched.
SIDECAR = "_dseg.json"


@dataclass(frozen=True, eq=False)
class ScanResults:
    """The files of one segmented scan: its sidecar, the sidecar's content, and its SHA-256.

    A page with the same digest is up to date.
    """

    path: Path
    content: Json
    digest: str

    @property
    def stem(self) -> str:
        """Common prefix of the names of all files."""
        return self.path.name.removesuffix(SIDECAR)

    @property
    def labels(self) -> Path:
        """The label map."""
        mgz = any(name.endswith("_dseg.mgz") for name in self.part("files"))
        return self.path.with_name(f"{self.stem}_dseg.mgz" if mgz else f"{self.stem}_dseg.nii.gz")

    @property
    def disagreement(self) -> Path | None:
        """Mask of where the members of a consensus see different tissues; None where the result has none."""
        path = self.path.with_name(f"{self.stem}_differ.nii.gz")
        return path if path.name in self.part("files") and path.is_file() else None

    @property
    def page(self) -> Path:
        """Path of the report."""
        return self.path.with_name(f"{self.stem}_report.html")

    @property
    def input_name(self) -> str:
        """File name of the scan."""
        return str(self.part("input").get("name") or self.stem)

    def part(self, *keys: str) -> Json:
        """Return a dict inside the sidecar; an empty one if there is none."""
        found: object = self.content
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def lines(self, key: str) -> list[str]:
        """Return a list of texts inside the sidecar; an empty one if there is none."""
        found = self.content.get(key)
        return [str(line) for line in found] if isinstance(found, list) else []

    def volumes_mm3(self) -> dict[str, float]:
        """Volumes by name, in the order of the table; empty if there is no table or it cannot be read."""
        return {name: volume_mm3 for name, (volume_mm3, _) in self._volumes().items()}

    def volume_notes(self) -> dict[str, str]:
        """Limitations of volumes, by name; empty as `volumes_mm3`."""
        return {name: note for name, (_, note) in self._volumes().items() if note}

    def _volumes(self) -> dict[str, tuple[float, str]]:
        try:
            rows = read_tsv(self.path.with_name(f"{self.stem}_volumes.tsv"))
            return {row["name"]: (float(row["volume_mm3"]), (row.get("note") or "").replace("n/a", "")) for row in rows}
        except (OSError, KeyError, TypeError, ValueError):
            return {}

    def table(self) -> tuple[Label, ...]:
        """The labels of the label map, without background.

        Raises
        ------
        InputError
            If the table is missing or not valid.
        """
        path = self.path.with_name(f"{self.stem}_dseg.tsv")
        try:
            return tuple(_label(row) for row in read_tsv(path) if int(row["index"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            what = "the table of its labels is missing or broken"
            raise InputError("no-table", path, what, "Segment the scan again with --overwrite") from error


def read_results(path: Path) -> ScanResults:
    """Read a sidecar.

    Raises
    ------
    InputError
        If it cannot be read, or was not written by lodbrain.
    """
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except (OSError, ValueError) as error:
        raise InputError("bad-sidecar", path, "it cannot be read as JSON", "Segment the scan again") from error
    if not isinstance(content, dict) or content.get("software") != "lodbrain":
        raise InputError("bad-sidecar", path, "lodbrain did not write it", "Name a folder of lodbrain's results")
    return ScanResults(path, content, sha256_of(raw))


def find_sidecars(folder: Path) -> list[Path]:
    """Return the sidecars of finished results in a folder and its subfolders, except hidden ones.

    Raises
    ------
    InputError
        If there are none.
    """
    if not folder.is_dir():
        raise InputError("missing", folder, "there is no such folder", "Name a folder of lodbrain's results")
    found = sorted(
        path
        for path in folder.rglob(f"*{SIDECAR}")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        what = f"there are no results (*{SIDECAR}) in this folder"
        raise InputError("no-results", folder, what, "Make some with: lodbrain segment INPUT -o DIR")
    return found


def _label(row: Mapping[str, str]) -> Label:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", row["color"]):
        raise ValueError(f"color must be #rrggbb, got {row['color']!r}")
    red, green, blue = (int(row["color"][at : at + 2], 16) for at in (1, 3, 5))
    name = row["name"]
    side = name.split("-", 1)[0].lower()
    return Label(int(row["index"]), name, (red, green, blue), side if side in ("left", "right") else None)  # type: ignore[arg-type]
