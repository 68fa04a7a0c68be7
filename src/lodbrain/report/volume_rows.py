"""Rows of the table of volumes on a page: both sides in one row, each with its usual range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lodbrain.labels import Label
from lodbrain.segmentation.usual_volumes import USUAL_SD, reference_of

#: Range of the strip beside a row in standard deviations, plus and minus.
STRIP_SD = 4.0


@dataclass(frozen=True)
class Value:
    """One volume by its name in the table; a sum has no label.

    Attributes
    ----------
    z : float or None
        Deviation from the reference in standard deviations; None without a reference.
    usual_ml : (2,) float or None
        Lowest and highest usual volume.
    note : str
        Limitation of the volume; it is then not compared with the usual range.
    """

    name: str
    index: int | None
    side: str | None
    ml: float
    z: float | None = None
    usual_ml: tuple[float, float] | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``"low"``, ``"high"``, or an empty string if it is usual or there is no reference."""
        if self.z is None or abs(self.z) <= USUAL_SD:
            return ""
        return "low" if self.z < 0 else "high"

    @property
    def place(self) -> float | None:
        """Position on the strip, 0 to 1, clipped to its ends."""
        return None if self.z is None else (min(max(self.z, -STRIP_SD), STRIP_SD) + STRIP_SD) / (2 * STRIP_SD)


@dataclass(frozen=True)
class VolumeRow:
    """One structure: its name without a side, its colour (empty for a sum), and left and right, or one value."""

    name: str
    color: str
    values: tuple[Value, ...]


def volume_rows(
    volumes_mm3: Mapping[str, float], table: Sequence[Label], notes: Mapping[str, str] | None = None
) -> list[VolumeRow]:
    """Return the rows in the order of the table of volumes, left and right joined, sums last.

    `notes` are limitations of volumes, by name.
    """
    label_of = {label.name: label for label in table}
    joined: dict[str, list[Value]] = {}
    for name, volume_mm3 in volumes_mm3.items():
        label = label_of.get(name)
        side = label.side if label else None
        bare = name.split("-", 1)[1] if side else name
        value = _value(name, label, volume_mm3, volumes_mm3)
        if note := (notes or {}).get(name):
            value = replace(value, z=None, usual_ml=None, note=note)
        joined.setdefault(bare, []).append(value)
    rows = []
    for bare, values in joined.items():
        values.sort(key=lambda value: value.side or "")
        first = label_of.get(values[0].name)
        rows.append(VolumeRow(in_words(bare), first.hex_color if first else "", tuple(values)))
    return sorted(rows, key=lambda row: row.values[0].index is None)


#: FreeSurfer's short names in words.
_WORDS = {
    "Inf-Lat-Vent": "Inferior lateral ventricle",
    "VentralDC": "Ventral diencephalon",
    "Accumbens-area": "Accumbens",
    "Brain-Stem": "Brainstem",
    "3rd-Ventricle": "Third ventricle",
    "4th-Ventricle": "Fourth ventricle",
    "TIV": "Intracranial volume (TIV)",
    "brain": "Brain, all but CSF",
}


def in_words(name: str) -> str:
    """Return a label's name as a page shows it.

    Examples
    --------
    >>> in_words("Cerebral-White-Matter"), in_words("Left-Thalamus"), in_words("TIV")
    ('Cerebral white matter', 'Left thalamus', 'Intracranial volume (TIV)')
    """
    side, _, bare = name.partition("-")
    if side in ("Left", "Right"):
        return f"{side} {in_words(bare)[:1].lower()}{in_words(bare)[1:]}"
    words = _WORDS.get(name) or name.replace("-", " ").replace("_", " ")
    return words if name in _WORDS or words.isupper() else words[:1].upper() + words[1:].lower()


def _value(name: str, label: Label | None, volume_mm3: float, volumes_mm3: Mapping[str, float]) -> Value:
    index, side = (label.index, label.side) if label else (None, None)
    found = reference_of(name, volumes_mm3)
    if found is None:
        return Value(name, index, side, volume_mm3 / 1000)
    reference, whole = found
    z = max(-99.0, reference.z(volume_mm3 / whole))
    low, high = reference.usual(whole)
    return Value(name, index, side, volume_mm3 / 1000, z, (low / 1000, high / 1000))
