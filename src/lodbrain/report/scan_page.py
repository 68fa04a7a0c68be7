"""HTML page of one scan: viewer, volumes, slices, quality, provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels
from lodbrain.labels import Label
from lodbrain.report.embedded_volume import GREY_LEVELS, embed
from lodbrain.report.pages import number, render
from lodbrain.report.quality_text import quality_of
from lodbrain.report.sidecars import ScanResults, read_results
from lodbrain.report.slice_pictures import PLANES, Slice, slices, window_of
from lodbrain.report.volume_rows import VolumeRow, in_words, volume_rows
from lodbrain.segmentation.usual_volumes import SOURCE
from lodbrain.segmentation.volume_table import BRAIN, TIV
from lodbrain.system.atomic import write_text

#: The line with the sidecar's digest is within this many bytes of the page's beginning.
_HEAD_BYTES = 4096

TIMES = " \u00d7 "

_AXES = {"axial": ("z", 2), "coronal": ("y", 1), "sagittal": ("x", 0)}


def write_scan_page(results: ScanResults, scan: Path | None) -> Path:
    """Write the page of one scan beside its results, and return its path. Without the scan, labels are shown alone.

    Raises
    ------
    InputError
        If the label map, its table or the scan cannot be read, or they do not match.
    """
    write_text(results.page, scan_page(results, scan))
    return results.page


def is_up_to_date(results: ScanResults) -> bool:
    """Return whether the page exists, was made from this sidecar, and shows the scan."""
    try:
        with results.page.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    found = re.search(r'<meta name="lodbrain-sidecar" content="([0-9a-f]{64})">', head)
    return found is not None and found.group(1) == results.digest


def ensure_page(sidecar: Path, scan: Path | None) -> Path:
    """Write the page of a finished result unless it is up to date; errors as in `write_scan_page`."""
    results = read_results(sidecar)
    return results.page if is_up_to_date(results) else write_scan_page(results, scan)


def scan_page(results: ScanResults, scan: Path | None) -> str:
    """Return the page of one scan as HTML; parameters and errors as in `write_scan_page`."""
    table = results.table()
    image, regions, differing = _load(results, scan)
    window = window_of(image.data)
    embedded = embed(image, regions, table, window)
    volumes_mm3 = results.volumes_mm3() or _counted(regions, table, image.voxel_volume_mm3)
    rows = volume_rows(volumes_mm3, table, results.volume_notes())
    tiles = slices(image, regions, table, window, marked=differing)
    data = {
        "labels": [_script_label(label, embedded.targets) for label in table],
        "scan": embedded.scan,
        "regions": embedded.labels,
        "white": (GREY_LEVELS - 1) * (256 // GREY_LEVELS),
        "start": _start(table, embedded.targets, tiles),
    }
    return render(
        "scan.html",
        scripts=("scan.js",),
        data=data,
        viewer=True,
        digest=results.digest if scan else f"{results.digest} without the scan",
        name=results.input_name,
        subtitle=_subtitle(results),
        facts=facts_of(results, volumes_mm3),
        missing_scan=scan is None,
        embedded=embedded,
        targets=embedded.targets,
        rows=[_shown(row) for row in rows],
        unusual=[f"{in_words(v.name)} ({v.verdict})" for row in rows for v in row.values if v.verdict],
        quality=asdict(quality_of(results.part("quality"))),
        notes=results.lines("notes"),
        planes=[(plane.capitalize(), [_tile(tile) for tile in tiles if tile.plane == plane]) for plane in PLANES],
        disagreement=None if differing is None else results.part("quality").get("disagreement"),
        reference=SOURCE,
        provenance=provenance(results),
    )


@dataclass(frozen=True)
class Fact:
    """One number at the top of a page."""

    name: str
    value: str
    unit: str = ""
    warn: bool = False


def facts_of(results: ScanResults, volumes_mm3: Mapping[str, float]) -> list[Fact]:
    """Return the main numbers."""
    masked = TIV in results.volume_notes()
    facts = [
        Fact(name, number(volumes_mm3[key] / 1000, 0), "ml")
        for key, name in ((BRAIN, "Brain"), (TIV, "Intracranial, in the mask" if masked else "Intracranial"))
        if key in volumes_mm3
    ]
    quality = results.part("quality")
    for key, name in (("score", "Predicted Dice"), ("confidence", "Mean posterior")):
        if isinstance(value := quality.get(key), (int, float)):
            facts.append(Fact(name, f"{value:.2f}"))
            break
    shown = quality_of(quality)
    if shown.reasons:
        count = len(shown.reasons)
        facts.append(Fact("Quality", f"{count} QC warning{'s' if count != 1 else ''}", warn=True))
    notes = len(results.lines("notes"))
    facts.append(Fact("Input", f"{notes} note{'s' if notes != 1 else ''}" if notes else "no corrections"))
    return facts


def provenance(results: ScanResults) -> list[tuple[str, str]]:
    """Return the provenance of the result as text."""
    content, model, settings = results.content, results.part("model"), results.part("settings")
    run, grid = results.part("execution"), results.part("grid")
    seconds = results.part("execution", "seconds")
    rows = [
        ("Scan", results.input_name),
        ("Its SHA-256", results.part("input").get("sha256")),
        ("Grid", _grid(grid)),
        ("lodbrain", content.get("version")),
        ("Model", model.get("name")),
        ("Its SHA-256", model.get("sha256")),
        ("Settings", ", ".join(f"{key} {_plain(value)}" for key, value in settings.items())),
        ("Device", run.get("device")),
        ("Threads", run.get("threads") or "one a core"),
        ("Memory budget", _gib(run.get("memory_bytes")) or "what was free, less a margin"),
        ("Seconds", ", ".join(f"{key} {_plain(value)}" for key, value in seconds.items())),
        ("Peak memory", _gib(content.get("peak_memory_mib"), unit=2**10)),
    ]
    return [(key, str(value)) for key, value in rows if value not in (None, "", {})]


def _load(results: ScanResults, scan: Path | None) -> tuple[Image, NDArray[np.integer], NDArray[np.bool_] | None]:
    """Scan, labels and disagreement of members in RAS order; without the scan, what is labelled is grey."""
    labels = read_labels(results.labels)
    differing = _differing(results, labels)
    if labels.data.max(initial=0) > 255 or labels.data.min(initial=0) < 0:
        raise InputError("labels", results.labels, "the page can show labels of 0 to 255 only", "Merge some labels")
    if scan is None:
        silhouette = (labels.data > 0).astype(np.float32)
        image = replace(labels, data=np.where(silhouette > 0, 0.4, 0.0).astype(np.float32))
        image, turned = to_ras(image)
        # white is 1: one voxel in the corner, so that grey stays grey
        data = np.array(image.data)
        data[:2, :2, :2] = 1.0
        shown = replace(image, data=data)
        return shown, turned.apply(labels.data), None if differing is None else turned.apply(differing)
    settings = results.part("settings")
    frame = settings.get("frame")
    image = read_image(
        scan,
        frame=frame if isinstance(frame, int) else None,
        allow_odd_voxels=bool(settings.get("allow_odd_voxels")),
    )
    if image.shape != labels.shape:
        what = f"the scan's grid is {image.shape}, the label map's {labels.shape}"
        raise InputError("other-grid", results.labels, what, "Segment the scan again with --overwrite")
    # one affine for all, so that they are turned alike
    ras, turned = to_ras(image)
    return ras, turned.apply(labels.data), None if differing is None else turned.apply(differing)


def _differing(results: ScanResults, labels: Image) -> NDArray[np.bool_] | None:
    """Where the members of a consensus see different tissues, on the grid of the labels; None if that was not kept."""
    if results.disagreement is None:
        return None
    mask = read_labels(results.disagreement).data > 0
    if mask.shape != labels.shape:
        what = f"its grid is {mask.shape}, that of the label map {labels.shape}"
        raise InputError("other-grid", results.disagreement, what, "Segment the scan again with --overwrite")
    return mask


def _counted(regions: NDArray[np.integer], table: tuple[Label, ...], voxel_volume_mm3: float) -> dict[str, float]:
    """Return volumes by name, from voxel counts, for label maps without a table of volumes."""
    counts = np.bincount(regions.ravel(), minlength=256)
    return {label.name: float(counts[label.index]) * voxel_volume_mm3 for label in table if label.index < 256}


def _script_label(label: Label, targets: Mapping[int, tuple[float, float, float]]) -> dict[str, object]:
    return {
        "index": label.index,
        "name": label.name,
        "words": in_words(label.name),
        "rgb": list(label.color),
        "mm": targets.get(label.index),
    }


def _start(
    table: tuple[Label, ...], targets: Mapping[int, tuple[float, float, float]], tiles: list[Slice]
) -> list[float]:
    """Return the initial position of the cross-hair: a thalamus if there is one, else the centre of the head."""
    for label in table:
        if label.name.endswith("Thalamus") and label.index in targets:
            return list(targets[label.index])
    return list(tiles[len(tiles) // 2].mm)


def _shown(row: VolumeRow) -> dict[str, object]:
    """Return a row of the table of volumes for the template."""
    ranges = [value.usual_ml for value in row.values if value.usual_ml is not None]
    low, high = min((low for low, _ in ranges), default=0.0), max((high for _, high in ranges), default=0.0)
    digits = 0 if high >= 100 else 1 if high >= 10 else 2
    sides = [
        {
            "index": value.index,
            "side": value.side,
            "ml": value.ml,
            "place": value.place,
            "verdict": value.verdict,
            "label": in_words(value.name),
        }
        for value in row.values
    ]
    usual = f"{number(low, digits)} to {number(high, digits)}" if ranges else ""
    note = next((value.note for value in row.values if value.note), "")
    return {"name": row.name, "color": row.color, "sides": sides, "usual": usual, "note": note}


def _tile(tile: Slice) -> dict[str, object]:
    letter, axis = _AXES[tile.plane]
    return {**asdict(tile), "at": f"{letter} = {number(tile.mm[axis], 0)} mm"}


def _subtitle(results: ScanResults) -> str:
    total = results.part("execution", "seconds").get("total")
    model = results.part("model").get("name")
    parts = [
        _grid(results.part("grid")),
        f"model {model}" if model else "",
        f"segmented in {total:.0f} s" if isinstance(total, (int, float)) else "",
    ]
    return " · ".join(part for part in parts if part)


def _grid(grid: Mapping[str, object]) -> str:
    shape, spacing = grid.get("shape"), grid.get("spacing_mm")
    if not (isinstance(shape, list) and isinstance(spacing, list)):
        return ""
    sides = TIMES.join(f"{float(side):.2f}" if isinstance(side, (int, float)) else "?" for side in spacing)
    return f"{TIMES.join(map(str, shape))} voxels of {sides} mm"


def _plain(value: object) -> str:
    return "none" if value is None else ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _gib(value: object, *, unit: int = 2**30) -> str:
    return f"{value / unit:.1f} GiB" if isinstance(value, (int, float)) else ""
