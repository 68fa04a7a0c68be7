"""Types of the switches that commands have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

#: A switch without an opposite.
Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]

#: Print errors only.
Quiet: TypeAlias = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", show_default=False)]
