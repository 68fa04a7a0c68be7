"""YAML files validated by pydantic, with errors of one line that name the file and the field."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from lodbrain.errors import UsageError

T = TypeVar("T")


def read_validated(path: str | PathLike[str], kind: TypeAdapter[T], *, code: str, hint: str) -> T:
    """Return the content of a file as an object of a type.

    Raises
    ------
    UsageError
        With `code` and `hint`, if the file is missing, is not a YAML mapping, or a field is wrong.
    """
    try:
        tree: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(code, path, f"cannot be read ({error.strerror})", hint) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(code, path, f"is not YAML: {error}", hint) from None
    if not isinstance(tree, dict):
        raise UsageError(code, path, "is not a mapping of fields", hint)
    try:
        return kind.validate_python(tree)
    except ValidationError as error:
        raise UsageError(code, path, _first_error(error), hint) from None


def _first_error(error: ValidationError) -> str:
    """Return the first error of a validation, preceded by the field's name."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
