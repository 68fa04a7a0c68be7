"""Verification of a model against the manual segmentations of UltraCortex."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lodbrain.datasets.download import cache_folder
from lodbrain.datasets.ultracortex import ACCESSION, LABELS, VERSION, Case, fetch_ultracortex, find_cases, trained_on
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.grids import on_grid_of
from lodbrain.evaluation.groups import Interval, bootstrap_mean
from lodbrain.evaluation.metric_files import write_json, write_rows, write_tsv
from lodbrain.evaluation.protocol import Shares, apply_protocol, count_labels, decide_protocol
from lodbrain.evaluation.score import METRICS, Row, score_pair
from lodbrain.evaluation.tables import FREESURFER_TABLE
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels
from lodbrain.labels import CLASS_OF_INDEX
from lodbrain.report.verification import Picture, verification_page
from lodbrain.segmentation.outputs import Outputs, check_writable
from lodbrain.segmentation.segment import segment_file
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.version import __version__

Progress: TypeAlias = Callable[[float, str], None]

ROWS, SUMMARY, PROTOCOL, JSON = "ultracortex.tsv", "summary.tsv", "protocol.tsv", "ultracortex.json"
#: The manual labels have FreeSurfer's numbers.
TABLE = FREESURFER_TABLE.restricted(LABELS, "ultracortex")
_NUMBERS = {(words.split()[0], side): number for number, (words, side) in LABELS.items()}
_TISSUE = np.zeros(256, np.uint8)
for _number, (_words, _) in LABELS.items():
    _TISSUE[_number] = 1 if _words.startswith("grey") else 2


@dataclass(frozen=True)
class Published:
    """A result published on these twelve scans.

    Attributes
    ----------
    method, figure, remark : str
    """

    method: str
    figure: str
    remark: str


#: As stated by their authors, who may treat structures that the manual labels leave out differently.
PUBLISHED = (
    Published("GOUHFI", "Dice 0.93", "its training labels include scans at 9.4 T"),
    Published("SIAM", "Dice 0.91, grey matter", "trained on synthetic scans of six templates"),
    Published("GA-MS-UNet++", "Dice 0.93", "trained and tested on these twelve scans"),
)


@dataclass(frozen=True, eq=False)
class Verified:
    """A case that was evaluated.

    Attributes
    ----------
    case : Case
    labels : Path
        Our label map.
    notes : tuple of str
        Differences from the documented properties of this scan.
    """

    case: Case
    labels: Path
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Verification:
    """Results of a verification.

    Attributes
    ----------
    cases : tuple of Verified
    protocol : tuple of Shares
    rows : tuple of Row
    summary : dict of (region, side) to Interval
        Mean Dice with its bootstrap interval.
    problems : tuple of InputError
    """

    cases: tuple[Verified, ...]
    protocol: tuple[Shares, ...]
    rows: tuple[Row, ...]
    summary: dict[tuple[str, str], Interval]
    problems: tuple[InputError, ...]

    @property
    def exit_code(self) -> int:
        """0 if all cases were evaluated, 3 if some, 4 if none."""
        return 0 if not self.problems else 3 if self.rows else 4


def verify(
    out: str | PathLike[str],
    settings: Settings | None = None,
    *,
    data: str | PathLike[str] | None = None,
    surfaces: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda share, text: None,
) -> Verification:
    """Verify a model; complete segmentations in the folder are reused.

    Parameters
    ----------
    out : path
        Folder for the tables, the page, and ``segmentations``.
    settings : Settings, optional
        Model, device, memory, threads.
    data : path, optional
        Folder laid out as the dataset. Default: the cache, downloaded if necessary.
    surfaces : bool
        Compute surface distances, too.
    tell : callable, optional
        Called with the treatment of each structure by the labels, before the evaluation.
    progress : callable, optional

    Raises
    ------
    UsageError
        If the model was trained on a test scan, or predicts tissue classes only.
    InputError
        If there are no cases, or none could be segmented.
    OutputError, WeightsError
    """
    settings = replace(settings or Settings(), labels="structures", resume=True, overwrite=False)
    folder = Path(out)
    check_writable(folder)
    model = load_model(settings)
    root = Path(data) if data is not None else _fetch(progress)
    cases = find_cases(root)
    check_unseen(model, tuple(case.subject for case in cases))
    done: list[Verified] = []
    problems: list[InputError] = []
    counts = np.zeros((19, 3), np.int64)
    for number, case in enumerate(cases):
        try:
            progress(0.8 * number / len(cases), f"segmenting sub-{case.subject}")
            outcome = segment_file(case.scan, folder / "segmentations", settings, model=model)
            classes, manual = _read(outcome.outputs, case)
            counts += count_labels(classes, _TISSUE[manual.data])
            done.append(Verified(case, outcome.outputs.labels, _unlike(case, manual)))
        except InputError as error:
            problems.append(InputError(error.code, error.path or case.scan, error.what, error.hint))
    if not done:
        raise problems[0]
    protocol = decide_protocol(counts)
    write_tsv(folder / PROTOCOL, [f.name for f in fields(Shares)], (astuple(row) for row in protocol))
    for line in protocol_lines(protocol):
        tell(line)
    rows: list[Row] = []
    for number, each in enumerate(done):
        progress(0.8 + 0.15 * number / len(done), f"scoring sub-{each.case.subject}")
        rows += _score(each, protocol, surfaces=surfaces)
    summary = summarise(rows)
    found = Verification(tuple(done), protocol, tuple(rows), summary, tuple(problems))
    _write(folder, found, model, root)
    progress(1.0, "done")
    return found


def check_unseen(model: Model, subjects: tuple[str, ...]) -> None:
    """Raise if a model was trained on one of the test subjects.

    Raises
    ------
    UsageError
        ``"seen"``.
    """
    if model.card.labels != "structures":
        what = f"model {model.card.name} gives tissue classes without sides; the manual labels have sides"
        raise UsageError("labels", None, what, "Name a model of structures")
    if seen := trained_on(model.card, subjects):
        listed = ", ".join(f"sub-{subject}" for subject in seen)
        what = f"the card of model {model.card.name} lists {listed} among its training data: a test on them is none"
        raise UsageError("seen", None, what, "Test a model that has not seen them")


def protocol_lines(protocol: Sequence[Shares]) -> list[str]:
    """Describe the treatment of our structures by the manual labels, one line each."""
    words = {"grey": "grey matter", "white": "white matter", "nothing": "nothing", "mixed": "mixed, and is left out"}
    return [
        f"{row.structure}: {row.grey:.0%} grey, {row.white:.0%} white, {row.nothing:.0%} nothing: "
        f"counts as {words[row.treatment]}"
        for row in protocol
        if row.voxels and row.structure != "Background"
    ]


def summarise(rows: Sequence[Row]) -> dict[tuple[str, str], Interval]:
    """Return mean Dice and bootstrap interval of each region and side."""
    keys = dict.fromkeys((row.region, row.side) for row in rows)
    rng = np.random.default_rng(0)
    return {
        key: bootstrap_mean(np.array([row.dice for row in rows if (row.region, row.side) == key]), rng=rng)
        for key in keys
    }


def _fetch(progress: Progress) -> Path:
    folder = cache_folder(f"{ACCESSION}-{VERSION}")
    done = fetch_ultracortex(folder, progress=lambda share, text: progress(0.0, text))
    failed = [file.error for file in done.files if file.error is not None]
    if failed:
        raise failed[0]
    return folder


def _read(outputs: Outputs, case: Case) -> tuple[NDArray[np.integer], Image]:
    """Return our classes and the manual labels, on the scan's grid."""
    ours = read_labels(outputs.labels)
    manual = read_labels(case.labels)
    unknown = set(np.unique(manual.data).tolist()) - {0, *LABELS}
    if unknown:
        what = f"labels {sorted(unknown)[:6]} are none of UltraCortex's (2, 3, 41, 42)"
        raise InputError("labels", case.labels, what, "Is this the manual segmentation?")
    data, _ = on_grid_of(ours, manual)
    table = np.zeros(max(CLASS_OF_INDEX) + 1, np.uint8)
    for index, place in CLASS_OF_INDEX.items():
        table[index] = place
    return table[ours.data], replace(ours, data=data.astype(np.uint8))


def _unlike(case: Case, image: Image) -> tuple[str, ...]:
    """Return differences from the documented properties of this scan."""
    if case.published is None:
        return (f"sub-{case.subject} is none of the twelve published scans",)
    notes = []
    if tuple(sorted(image.shape)) != case.published.shape:
        notes.append(f"its grid is {image.shape}, published is {case.published.shape}")
    if abs(float(image.spacing_mm.mean()) - case.published.voxel_mm) > 0.05:
        notes.append(f"its voxels are {image.spacing_mm.mean():.2f} mm, published is {case.published.voxel_mm} mm")
    return tuple(notes)


def _score(each: Verified, protocol: tuple[Shares, ...], *, surfaces: bool) -> list[Row]:
    folder, stem = each.labels.parent, each.labels.name.removesuffix("_dseg.nii.gz")
    classes, manual = _read(Outputs(folder, stem), each.case)
    labels, scored = apply_protocol(classes, protocol, _NUMBERS)
    pred = replace(manual, data=np.where(scored, labels, 0).astype(np.int16))
    ref = replace(manual, data=np.where(scored, manual.data, 0).astype(np.int16))
    found = score_pair(pred, ref, case=f"sub-{each.case.subject}", pred_table=TABLE, ref_table=TABLE, surfaces=surfaces)
    # grey matter may include more than cortex
    names = {"Cerebral-Cortex": "Grey-Matter", "Cerebral-White-Matter": "White-Matter"}
    return [replace(row, region=names[row.region]) for row in found.rows if row.level in ("structure", "merged")]


def _write(folder: Path, found: Verification, model: Model, root: Path) -> None:
    write_rows(folder / ROWS, found.rows)
    columns = ("region", "side", "mean_dice", "low", "high", "n")
    write_tsv(folder / SUMMARY, columns, ((*key, i.mean, i.low, i.high, i.n) for key, i in found.summary.items()))
    pictures = []
    for each in found.cases:
        classes, manual = _read(Outputs(each.labels.parent, each.labels.name.removesuffix("_dseg.nii.gz")), each.case)
        labels, scored = apply_protocol(classes, found.protocol, _NUMBERS)
        dice = {
            row.region: row.dice for row in found.rows if row.case == f"sub-{each.case.subject}" and row.side == "both"
        }
        pictures.append(
            Picture(each.case.subject, each.case.scan, np.where(scored, labels, 0), manual, dice, each.notes)
        )
    manifest = root / ".lodbrain-fetch.json"
    source = (
        json.loads(manifest.read_text(encoding="utf-8"))["dataset"] if manifest.is_file() else {"folder": root.name}
    )
    verification_page(
        folder / "ultracortex.html",
        pictures,
        summary=found.summary,
        protocol=found.protocol,
        published=[astuple(row) for row in PUBLISHED],
        model=f"{model.card.name}, weights {model.sha256[:12]}",
        source=source,
    )
    content = {
        "software": "lodbrain",
        "version": __version__,
        "model": {"name": model.card.name, "sha256": model.sha256},
        "data": source,
        "protocol": [asdict(row) for row in found.protocol],
        "summary": [
            {"region": region, "side": side, **asdict(interval)} for (region, side), interval in found.summary.items()
        ],
        "published": [asdict(row) for row in PUBLISHED],
        "metrics": list(METRICS),
        "cases": {f"sub-{each.case.subject}": list(each.notes) for each in found.cases},
        "problems": [str(problem) for problem in found.problems],
    }
    write_json(folder / JSON, content)
