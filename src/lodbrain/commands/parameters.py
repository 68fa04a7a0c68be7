"""Types of parameters that several commands share, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

#: A switch without a negative form.
Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default="off")]

#: An option with several values.
Strings: TypeAlias = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
Paths: TypeAlias = Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")]

#: Folder or file for the results.
Out: TypeAlias = Annotated[Path, Parameter(name=["--out", "-o"])]
OptionalOut: TypeAlias = Annotated[Path | None, Parameter(name=["--out", "-o"])]

Quiet: TypeAlias = Annotated[Flag, Parameter(name=["--quiet", "-q"], help="Print only errors.")]
Overwrite: TypeAlias = Annotated[Flag, Parameter(help="Replace existing results, which are otherwise an error.")]
ResumeScans: TypeAlias = Annotated[
    Flag,
    Parameter(
        help="Skip scans whose results are complete, and process the others. Complete results of another model, other "
        "settings or a changed scan are an error unless --overwrite is given."
    ),
]
ResumeMaps: TypeAlias = Annotated[
    Flag,
    Parameter(help="Keep results that are complete and made with the same settings, and make the others."),
]
Frame: TypeAlias = Annotated[
    int | None,
    Parameter(help="Volume of a 4D file to use, counted from 0. Default: a file of several volumes is refused."),
]
OddVoxels: TypeAlias = Annotated[
    Flag, Parameter(help="Accept voxels smaller than 0.1 mm or larger than 10 mm, which are otherwise refused.")
]
ModelName: TypeAlias = Annotated[str, Parameter(help="Name from `lodbrain models list`, or a model file.")]
Device: TypeAlias = Annotated[
    str,
    Parameter(help="Device to compute on: cpu, cuda, cuda:1 ..., mps, or auto, which takes a GPU if there is one."),
]
Memory: TypeAlias = Annotated[
    str | None,
    Parameter(
        help="Memory budget of all processes together, such as 4GB or 800MiB. Default: free memory minus a margin."
    ),
]
Threads: TypeAlias = Annotated[int | None, Parameter(help="Number of CPU threads per process. Default: one per core.")]
Seed: TypeAlias = Annotated[int, Parameter(help="Seed of the random numbers.")]
