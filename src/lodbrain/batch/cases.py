"""Batch processing: output folders mirror the input's, complete results are kept, failures do not stop the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from lodbrain.errors import InputError, LodbrainError, UsageError, exit_status
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.inputs import NOT_LABELS, Scan, find_scans, is_image, scan_of, stem_of
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.atomic import write_text
from lodbrain.system.hashing import sha256
from lodbrain.system.progress import Progress, silent
from lodbrain.system.records import json_text
from lodbrain.version import __version__

#: Folders of a BIDS dataset without scans.
_NOT_RAW = ("derivatives", "sourcedata", "code")


def file_identity(path: Path) -> Json:
    """Return name and SHA-256 of a file, for the record of where a result comes from."""
    return {"name": path.name, "sha256": sha256(path)}


def is_complete(sidecar: Path, origin: Json) -> bool:
    """Return whether a sidecar records the same origin, and all of its files are there with their sizes."""
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        return {key: content.get(key) for key in origin} == origin and all(
            sidecar.with_name(name).stat().st_size == size for name, size in content["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def exists_error(path: Path) -> InputError:
    """Return the error of an output that exists already."""
    hint = "Use --resume to keep what is complete, or --overwrite to replace it"
    return InputError("exists", path, "this output exists already", hint)


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case: a label map, files beside it, and a sidecar, which is written last and marks completion.

    Attributes
    ----------
    labels : Path
        The label map, ``.nii.gz``.
    """

    labels: Path

    def beside(self, ending: str) -> Path:
        """Return the path of another file of the set."""
        return self.labels.with_name(self.labels.name.removesuffix(".nii.gz") + ending)

    @property
    def sidecar(self) -> Path:
        """Path of the sidecar, which records the provenance."""
        return self.beside(".json")

    def begin(self) -> None:
        """Mark existing files as unfinished, before they are overwritten."""
        check_writable(self.labels.parent)
        self.sidecar.unlink(missing_ok=True)

    def finish(self, origin: Json, content: Json, *, more: Iterable[Path] = ()) -> None:
        """Write the sidecar, which lists label map, table, picture and `more` files, and so completes the set."""
        files = [path for path in (self.labels, self.beside(".tsv"), self.beside(".png"), *more) if path.exists()]
        head: Json = {"software": "lodbrain", "version": __version__}
        sizes = {path.name: path.stat().st_size for path in files}
        write_text(self.sidecar, json_text({**head, **origin, **content, "files": sizes}))


@dataclass(frozen=True, eq=False)
class CaseOutcome:
    """Outcome of one file.

    Attributes
    ----------
    status : {"done", "skipped", "failed"}
        ``"skipped"``: its results were complete.
    labels : Path
        The label map made from the input `path`.
    notes : tuple of str
        Unusual findings.
    """

    path: Path
    status: Literal["done", "skipped", "failed"]
    labels: Path
    notes: tuple[str, ...] = ()
    error: LodbrainError | None = None


def find_cases(inputs: Iterable[str | PathLike[str]], suffix: str) -> list[Scan]:
    """Return the images found in files, folders and globs; results of a folder's images go into the same subfolders.

    Results of single files also go into subfolders if two files share a stem. In a folder, only images whose stem ends
    in `suffix`, such as ``"_T1w"``, are used; if there are none and it is not a BIDS dataset, all images are.

    Raises
    ------
    UsageError
        If there is no input.
    """
    cases = []
    inputs = list(inputs)
    for given in filter(os.path.isdir, inputs):
        cases += _in_folder(Path(given), suffix)
    if others := [given for given in inputs if not os.path.isdir(given)]:
        cases += find_scans(others)
    if not cases:
        raise UsageError("no-input", None, "no INPUT was given", "Name a file, a folder, or a quoted glob")
    return cases


def _in_folder(folder: Path, suffix: str) -> list[Scan]:
    paths = []
    is_bids = (folder / "dataset_description.json").is_file()
    for root, folders, files in os.walk(folder):
        left_out = _NOT_RAW if is_bids and Path(root) == folder else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in left_out)
        paths += [Path(root, name) for name in sorted(files) if is_image(name, but=NOT_LABELS)]
    wanted = [path for path in paths if stem_of(path).endswith(suffix)]
    if not wanted and not is_bids:
        wanted = paths
    if not wanted:
        what = f"there are no images{f' {suffix}' if is_bids else ''} in this folder"
        return [Scan(folder, InputError("no-scans", folder, what, "Name another"))]
    return [replace(scan_of(path), folder=path.parent.relative_to(folder)) for path in wanted]


def run_cases(
    cases: Sequence[Scan],
    out: Path,
    *,
    name: Callable[[Scan], str],
    work: Callable[[Scan, CaseFiles, Progress], tuple[str, ...] | None],
    may_exist: bool,
    progress: Progress = silent,
    finished: Callable[[CaseOutcome], None] | None = None,
) -> list[CaseOutcome]:
    """Process each case; a failure does not stop the others.

    Parameters
    ----------
    name : callable(case)
        Name of the label map without its extension.
    work : callable(case, results, progress)
        Processes a case and returns its notes, or None if its results were complete already.
    may_exist : bool
        Whether earlier results may exist (they are skipped or replaced by `work`).

    Raises
    ------
    UsageError
        If two cases have the same result.
    OutputError, WeightsError
        Errors that concern all cases.
    """
    results = [CaseFiles(out / case.folder / f"{name(case)}.nii.gz") for case in cases]
    path_of_result: dict[Path, Path] = {}
    for case, result in zip(cases, results, strict=True):
        if case.problem is None and path_of_result.setdefault(result.labels, case.path) is not case.path:
            what = f"its results would have the same names as those of {path_of_result[result.labels]}"
            raise UsageError("same-stem", case.path, what, "Run them with two different output folders")
    inputs = [case.path for case in cases]
    outcomes = []
    for number, (case, result) in enumerate(zip(cases, results, strict=True)):

        def report(share: float, text: str, number: int = number, path: Path = case.path) -> None:
            progress((number + share) / len(cases), f"{path.name}: {text}")

        report(0.0, "reading")
        try:
            if case.problem is not None:
                raise case.problem
            _check(result, inputs, may_exist=may_exist)
            notes = work(case, result, report)
            outcome = CaseOutcome(case.path, "skipped" if notes is None else "done", result.labels, notes or ())
        except Exception as error:
            outcome = CaseOutcome(case.path, "failed", result.labels, error=failure(error, case.path))
        outcomes.append(outcome)
        if finished is not None:
            finished(outcome)
    return outcomes


def exit_code(outcomes: Sequence[CaseOutcome]) -> int:
    """Return the exit status of a command: 0 all succeeded, 3 some failed, 4 all failed, 70 internal error."""
    return exit_status([outcome.error for outcome in outcomes])


def _check(results: CaseFiles, inputs: Sequence[Path], *, may_exist: bool) -> None:
    existing = [path for path in (results.labels, results.sidecar) if os.path.lexists(path)]
    for path in existing:
        for given in inputs:
            if path.exists() and given.exists() and path.samefile(given):
                raise InputError("input-is-output", given, "this input would be overwritten", "Choose another -o")
    if existing and not may_exist:
        raise exists_error(existing[0])
