"""Errors for users, each one line: the file, the problem, and a hint.

The class of an exception determines the exit code of the command line (`exit_code`); its `code` identifies the case in
tests and logs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike


def shown(name: str | PathLike[str]) -> str:
    r"""Return a file's name or path as text that can be written to any file or console.

    Bytes that are not UTF-8, which Python represents as lone surrogates, become escapes such as ``\xfc``.

    Examples
    --------
    >>> shown("M\udcfcller_T1w.nii.gz"), shown("Größe.nii")
    ('M\\xfcller_T1w.nii.gz', 'Größe.nii')
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class LodbrainError(Exception):
    """Error with a message of one line: the file, the problem, and a hint.

    Parameters
    ----------
    code : str
        Short stable name of the case, such as ``"truncated"``.
    path : str or PathLike or None
        The file or folder concerned, or None if there is none.
    what : str
        The problem.
    hint : str
        Advice on how to solve it.
    """

    exit_code = 70

    def __init__(self, code: str, path: str | PathLike[str] | None, what: str, hint: str = "") -> None:
        self.code, self.path, self.what, self.hint = code, path, what, hint
        where = f"{shown(path)}: " if path is not None else ""
        super().__init__(" ".join(f"{where}{shown(what)}{'. ' + shown(hint) if hint else ''}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling: the default would pass the message as `code`."""
        return (type(self), (self.code, self.path, self.what, self.hint))


class UsageError(LodbrainError):
    """Invalid use of a command, detected before any processing: exit 2."""

    exit_code = 2


class InputError(LodbrainError):
    """Missing or invalid input; other inputs of the same command are processed: exit 3, or 4 if all failed."""

    exit_code = 4


class WeightsError(LodbrainError):
    """Missing weights, or weights that do not match their card: exit 5."""

    exit_code = 5


class OutputError(LodbrainError):
    """Output that cannot be written: exit 6."""

    exit_code = 6


def install_hint(extra: str) -> str:
    """Return the hint to install an optional extra of lodbrain from its checkout.

    Examples
    --------
    >>> install_hint("report")
    "In the checkout of lodbrain, run: pip install '.[report]'"
    """
    return f"In the checkout of lodbrain, run: pip install '.[{extra}]'"


def exit_status(errors: Sequence[LodbrainError | None]) -> int:
    """Return the exit status of a command on many inputs: 0 all done, 3 some failed, 4 all failed, 70 a bug.

    Parameters
    ----------
    errors : sequence of LodbrainError or None
        The error of each input, None if it succeeded.
    """
    failed = [error for error in errors if error is not None]
    if any(error.exit_code == LodbrainError.exit_code for error in failed):
        return LodbrainError.exit_code
    return 0 if not failed else 4 if len(failed) == len(errors) else 3
