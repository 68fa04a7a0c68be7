"""The main job: scans in, files out. One scan is one task, which may be repeated, or killed at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError
from lodbrain.images.atomic import atomic
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, write_nifti
from lodbrain.inference.inputs import Scan, find_scans, scan_of, stem_of
from lodbrain.inference.outputs import Outputs, check_not_an_input, check_writable, labels_tsv
from lodbrain.inference.segmentation import Progress, Segmentation, segment_image
from lodbrain.inference.settings import Model, Settings, check_model, load_model
from lodbrain.inference.sidecar import made_from, sidecar, to_text
from lodbrain.inference.volumes import Volume, volumes_tsv
from lodbrain.version import __version__

#: Share of a scan's time at which the network starts, and ends: for the progress bar only.
_START, _END = 0.02, 0.95


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one input.

    Attributes
    ----------
    path : Path
        The input.
    status : {"done", "skipped", "failed"}
        Skipped: the outputs were complete.
    outputs : Outputs
        Where the files are, or would be.
    volumes : tuple of Volume
        Empty unless done.
    seconds : float
        Wall-clock time.
    error : LodbrainError or None
        Why it failed.
    """

    path: Path
    status: Literal["done", "skipped", "failed"]
    outputs: Outputs
    volumes: tuple[Volume, ...] = ()
    seconds: float = 0.0
    error: LodbrainError | None = None


def segment_file(
    path: str | PathLike[str],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    *,
    model: Model | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Segment one file into a folder.

    Parameters
    ----------
    path : path
        The scan.
    out_dir : path
        The folder for the files named in `Outputs`.
    settings : Settings, optional
        What is asked.
    model : Model, optional
        What `load_model` gave, so that many scans load it once.
    progress : callable, optional
        Called with the share done and a few words.

    Returns
    -------
    Outcome
        Done, or skipped because the outputs are complete and `settings.resume` is set.

    Raises
    ------
    InputError
        If the scan is refused, its outputs exist already, or another process is writing them.
    UsageError, WeightsError
        As `load_model`.
    OutputError
        If the output cannot be written.
    """
    settings = settings or Settings()
    path, outputs = Path(path), Outputs(Path(out_dir), stem_of(path))
    report = progress or (lambda share, text: None)
    clock = _Clock()
    if problem := scan_of(path).problem:
        raise problem
    check_writable(outputs.folder)
    _check(outputs, [path], settings)
    model = model or load_model(settings)
    clock.lap("load")
    with outputs.claimed() as work:
        _check(outputs, [path], settings)  # again: another process may just have finished
        report(0.0, "reading")
        before = _state(path)
        origin = made_from(path, model, settings)
        if settings.resume and outputs.is_complete(origin):
            return Outcome(path, "skipped", outputs, seconds=clock.total)
        image = read_image(path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
        clock.lap("read")
        try:
            result = segment_image(
                image,
                model,
                settings=settings,
                progress=lambda share, text: report(_START + (_END - _START) * share, text),
            )
        except InputError as error:  # an image in memory does not know its file
            raise InputError(error.code, error.path or path, error.what, error.hint) from error
        clock.lap("segment")
        report(_END, "writing")
        if _state(path) != before:
            result = replace(result, notes=(*result.notes, "The file changed while it was being segmented."))
        files = _write(result, image, outputs=outputs, work=work, model=model)
        clock.lap("write")
        run = {
            "device": model.device,
            "memory_bytes": settings.memory_bytes,
            "threads": settings.threads,
            "seconds": {**clock.laps, "total": clock.total},
        }
        content = sidecar(result, image, origin=origin, run=run, files=files)
        _write_text(outputs.staged(work, outputs.sidecar), to_text(content))
        outputs.publish(work)
    report(1.0, "done")
    return Outcome(path, "done", outputs, result.volumes, clock.total)


def segment_files(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Segment files, folders and globs into a folder; an input that fails does not stop the others.

    Parameters
    ----------
    inputs, out_dir, settings
        As in `find_scans` and `segment_file`.
    progress : callable, optional
        Called with the share of all scans done, and a few words.
    finished : callable, optional
        Called with each outcome as it comes.

    Returns
    -------
    list of Outcome
        In the order of the inputs.

    Raises
    ------
    UsageError, WeightsError, OutputError
        What concerns all inputs. All but a full disk is found before any work.
    """
    settings, folder = settings or Settings(), Path(out_dir)
    found = find_scans(inputs)
    scans = [_checked(scan, [other.path for other in found], folder, settings) for scan in found]
    model = None
    if any(scan.problem is None for scan in scans):
        check_model(settings)
        check_writable(folder)
        model = load_model(settings)
    outcomes = []
    for number, scan in enumerate(scans):

        def report(share: float, text: str, *, number: int = number, name: str = scan.path.name) -> None:
            if progress is not None:
                progress((number + share) / len(scans), f"{name}: {text}")

        outcomes.append(_attempt(scan, folder, settings, model=model, progress=report))
        if finished is not None:
            finished(outcomes[-1])
    return outcomes


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return the exit status of a command: 0 all are there, 3 some failed, 4 all failed, 70 a bug was met."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if any(error.exit_code == LodbrainError.exit_code for error in errors):
        return LodbrainError.exit_code
    return 0 if not errors else 4 if len(errors) == len(outcomes) else 3


def _attempt(scan: Scan, folder: Path, settings: Settings, *, model: Model | None, progress: Progress) -> Outcome:
    """Return the outcome of one scan; raise only what concerns every scan."""
    started = time.monotonic()
    error: LodbrainError
    try:
        if scan.problem is not None:
            raise scan.problem
        return segment_file(scan.path, folder, settings, model=model, progress=progress)
    except (OutputError, UsageError, WeightsError):
        raise
    except LodbrainError as known:
        error = known
    except MemoryError as known:
        error = InputError("memory", scan.path, "there is not enough memory for it", "Set a smaller --memory")
        error.__cause__ = known
    except Exception as unknown:
        what = f"internal error: {type(unknown).__name__}: {unknown}"
        error = LodbrainError("bug", scan.path, what, "This is a bug: please report it")
        error.__cause__ = unknown
    outputs = Outputs(folder, scan.stem)
    return Outcome(scan.path, "failed", outputs, seconds=time.monotonic() - started, error=error)


def _checked(scan: Scan, inputs: Sequence[Path], folder: Path, settings: Settings) -> Scan:
    """Add to a scan the problem, if any, that can be seen before any work."""
    try:
        if scan.problem is None:
            _check(Outputs(folder, scan.stem), inputs, settings)
        return scan
    except InputError as error:
        return Scan(scan.path, error)


def _check(outputs: Outputs, inputs: Sequence[Path], settings: Settings) -> None:
    check_not_an_input(outputs, inputs)
    existing = outputs.existing()
    if existing and not (settings.resume or settings.overwrite):
        hint = "Use --resume to keep what is complete, or --overwrite to replace it"
        raise InputError("exists", existing[0], "this output exists already", hint)


def _write(result: Segmentation, image: Image, *, outputs: Outputs, work: Path, model: Model) -> dict[str, int]:
    """Write all but the sidecar into `work`; return the final names and sizes."""
    about = f"lodbrain {__version__} {model.card.name}"
    write_nifti(outputs.staged(work, outputs.labels), result.labels, image, description=about)
    if result.posteriors is not None:
        write_nifti(outputs.staged(work, outputs.posteriors), result.posteriors, image, description=about)
    _write_text(outputs.staged(work, outputs.table), labels_tsv(result.table))
    _write_text(outputs.staged(work, outputs.volumes), volumes_tsv(result.volumes))
    staged = ((path.name, outputs.staged(work, path)) for path in outputs.all)
    return {name: path.stat().st_size for name, path in staged if path.exists()}


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file, None where it is gone."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


class _Clock:
    """Seconds for each stage."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self.last, 3)
        self.last = now

    @property
    def total(self) -> float:
        return round(time.monotonic() - self.started, 3)
