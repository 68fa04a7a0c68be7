"""The errors that a user can meet, each one line: what, which file, what to do.

An exception's class decides the exit code of the command line (`exit_code`); the `code` names the case for tests and
logs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike


def shown(name: str | PathLike[str]) -> str:
    r"""Return a file's name or path as text that every file and console takes.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become ``\xfc``.

    Examples
    --------
    >>> shown("M\udcfcller_T1w.nii.gz"), shown("Größe.nii")
    ('M\\xfcller_T1w.nii.gz', 'Größe.nii')
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class LodbrainError(Exception):
    """One line for people: what is wrong, with which file, and what to do about it.

    Parameters
    ----------
    code : str
        Short stable name of the case, such as ``"truncated"``.
    path : str or PathLike or None
        The file or folder concerned, or None where there is none.
    what : str
        What is wrong.
    hint : str
        What to do about it.
    """

    exit_code = 70

    def __init__(self, code: str, path: str | PathLike[str] | None, what: str, hint: str = "") -> None:
        self.code, self.path, self.what, self.hint = code, path, what, hint
        where = f"{shown(path)}: " if path is not None else ""
        super().__init__(" ".join(f"{where}{shown(what)}{'. ' + shown(hint) if hint else ''}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process boundaries whole: the default would pass the finished line as `code`."""
        return (type(self), (self.code, self.path, self.what, self.hint))


class UsageError(LodbrainError):
    """The command was asked for something that cannot be: exit 2, before any work."""

    exit_code = 2


class InputError(LodbrainError):
    """One input is missing or refused; the others of the same command go on: exit 3, or 4 if all failed."""

    exit_code = 4


class WeightsError(LodbrainError):
    """Weights are missing or are not what their card says: exit 5."""

    exit_code = 5


class OutputError(LodbrainError):
    """The output cannot be written: exit 6."""

    exit_code = 6


def install_hint(extra: str) -> str:
    """Return the hint to install an optional part of lodbrain, which is installed from a checkout.

    Examples
    --------
    >>> install_hint("report")
    "In the checkout of lodbrain, run: pip install '.[report]'"
    """
    return f"In the checkout of lodbrain, run: pip install '.[{extra}]'"


def exit_status(errors: Sequence[LodbrainError | None]) -> int:
    """Return the exit status of a command on many inputs: 0 all are there, 3 some failed, 4 all failed, 70 a bug.

    Parameters
    ----------
    errors : sequence of LodbrainError or None
        For each input why it failed, None where it did not.
    """
    failed = [error for error in errors if error is not None]
    if any(error.exit_code == LodbrainError.exit_code for error in failed):
        return LodbrainError.exit_code
    return 0 if not failed else 4 if len(failed) == len(errors) else 3
