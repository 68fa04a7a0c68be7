"""Command line `lodbrain`: one file per command, each imported only when it is called."""

from __future__ import annotations

import difflib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from cyclopts import CycloptsError, Group, UnknownCommandError

from lodbrain.commands.lazy import LazyApp
from lodbrain.errors import LodbrainError, OutputError, install_hint, shown
from lodbrain.version import __version__

USAGE, BUG = 2, 70
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143  # 128 + the number of the signal, as shells report it

#: Summary of each command, by group of the help. The summary is here so that the help imports no command.
GROUPS = {
    "Segment": {
        "demo": "Segment an example head; nothing is downloaded.",
        "segment": "Segment scans: write label maps, volumes and their provenance.",
        "strip": "Extract the brain of scans: brain and mask.",
        "bids": "Segment the T1w-like scans of a BIDS dataset (BIDS App).",
        "volumes": "Collect volumes as SynthSeg's CSV or FreeSurfer's aseg.stats.",
        "report": "Write HTML reports: a page for each scan, and one for all.",
        "models": "List, show, verify, get and export models.",
        "web": "Build or serve the page that segments scans in a browser.",
    },
    "Evaluate": {"evaluate": "Score segmentations against references; compare models and groups."},
    "Train": {
        "train": "Train a model as configured in a file.",
        "plan": "Measure the memory and time of a training in a short trial.",
        "compare": "Train several architectures alike, and compare them.",
        "adapt": "Adapt a model to unlabelled scans of a new scanner.",
    },
    "Data": {
        "fetch": "Download public data for training and evaluation.",
        "labels": "Make label maps for training; upsample label maps; export label tables.",
        "contrast": "Analyse the contrast of scans, for training on similar ones.",
        "synth": "Generate synthetic scans with labels from label maps.",
    },
}
COMMANDS = [name for group in GROUPS.values() for name in group]
_WITH_SUBCOMMANDS = {"models", "evaluate", "fetch", "labels"}

#: Extra of each package that commands import at their top.
EXTRAS = {
    "PIL": "report",
    "markupsafe": "report",
    "jinja2": "report",
    "matplotlib": "report",
    "monai": "train",
    "onnx": "onnx",
    "pandas": "evaluate",
    "pydantic": "train",
    "surface_distance": "evaluate",
    "dask": "cluster",
    "distributed": "cluster",
    "tensorboard": "train",
    "yaml": "train",
}

app = LazyApp(
    name="lodbrain",
    version=f"lodbrain {__version__}",
    help="""Segment brain MRI at the scan's own voxel size, on an ordinary computer.

    For research, not a medical device.""",
    suppress_keyboard_interrupt=False,
)
for _title, _summaries in GROUPS.items():
    _group = Group.create_ordered(_title)
    for _place, (_name, _summary) in enumerate(_summaries.items()):
        _path = f"lodbrain.commands.{_name}:{'app' if _name in _WITH_SUBCOMMANDS else _name}"
        app.command(_path, name=_name, help=_summary, group=_group, sort_key=_place)
_options = Group.create_ordered("Options")
for _flag in ("--help", "--version"):
    app[_flag].group = _options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error is one line on stderr.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``lodbrain``; by default those of the process.

    Returns
    -------
    int
        0 done; 2 wrong usage; 3 some inputs failed; 4 all failed; 5 weights not verified; 6 output not writable;
        70 a bug; 128 + n ended by signal n.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escape characters that the console's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminate_as_exception():
            status = app(words, print_error=False, exit_on_error=False, result_action="return_value")
            if sys.stdout is not None:  # None if closed: lodbrain ... >&-
                sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, _Terminated) as signalled:
        return _ended(signalled)
    except (BrokenPipeError, SystemExit):  # rich converts the former to the latter
        # The reader of the output has ended (`lodbrain models list | head -1`). Python flushes stdout again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if ended := _signal_behind(error):
            return _ended(ended)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            # Unprinted output would raise again when Python flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            where = shown(error.filename) if error.filename is not None else "standard output"
            return _fail(f"{where} cannot be written ({error.strerror}). Free some space", OutputError.exit_code)
        if isinstance(error, LodbrainError):
            return _fail(str(error), error.exit_code)
        if isinstance(error, CycloptsError):
            return _fail(_usage(error, words), USAGE)
        if extra := _missing_extra(error):
            return _fail(f"this needs {extra[0]}. {install_hint(extra[1])}", USAGE)
        return _fail(
            f"internal error: {type(error).__name__}: {error}. This is a bug: please report it, with what "
            "LODBRAIN_DEBUG=1 adds to this line",
            BUG,
        )


class _Terminated(BaseException):
    """SIGTERM as an exception, so that the same cleanup runs as after Ctrl-C."""


@contextmanager
def _terminate_as_exception() -> Iterator[None]:
    """Raise `_Terminated` on SIGTERM in the block; only the main thread may set a signal handler."""

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _signal_behind(error: BaseException | None) -> BaseException | None:
    """Return the signal that caused an error, or None.

    A signal inside of a library may raise another error in that library's cleanup.
    """
    while error is not None and not isinstance(error, (KeyboardInterrupt, _Terminated)):
        error = error.__cause__ or error.__context__
    return error


def _ended(by: BaseException) -> int:
    word, status = ("terminated", TERMINATED) if isinstance(by, _Terminated) else ("interrupted", INTERRUPTED)
    return _fail(f"{word}; nothing half-written was left behind", status)


def _fail(line: str, status: int) -> int:
    if os.environ.get("LODBRAIN_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    with suppress(OSError):  # the status still reports the failure
        print("lodbrain:", " ".join(line.split()), file=sys.stderr, flush=True)
    return status


def _missing_extra(error: BaseException | None) -> tuple[str, str] | None:
    """Return package and extra if the import of an extra's package failed.

    The import error may be a cause of `error`: cyclopts wraps what the import of a command's module raises.
    """
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and (extra := EXTRAS.get(error.name.split(".")[0])):
            return error.name.split(".")[0], extra
        error = error.__cause__
    return None


def _usage(error: CycloptsError, words: Sequence[str]) -> str:
    if isinstance(error, UnknownCommandError) and words[0] not in COMMANDS:
        # Handled here: cyclopts would import every command, including torch, to suggest a similar one.
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        return f"there is no command {words[0]!r}.{f' Did you mean {near[0]!r}?' if near else ''} See: lodbrain --help"
    return f"{error} See: {' '.join(['lodbrain', *(word for word in words[:1] if word in COMMANDS), '--help'])}"
