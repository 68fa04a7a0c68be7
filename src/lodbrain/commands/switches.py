"""Types of parameters shared by commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

#: A switch without a negative form.
Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]

#: Switch: print only errors.
Quiet: TypeAlias = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", show_default=False)]

#: Folder or file for the results.
Out: TypeAlias = Annotated[Path, Parameter(name=["--out", "-o"])]
