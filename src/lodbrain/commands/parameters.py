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
Overwrite: TypeAlias = Annotated[Flag, Parameter(help="Replace existing results. By default they are an error.")]
ResumeScans: TypeAlias = Annotated[
    Flag,
    Parameter(
        help="Skip scans with complete results, and process the others. Complete results of another model, other "
        "settings or a changed scan are an error unless --overwrite is given."
    ),
]
ResumeMaps: TypeAlias = Annotated[
    Flag,
    Parameter(help="Keep complete results with the same settings, and make the others."),
]
Frame: TypeAlias = Annotated[
    int | None,
    Parameter(help="Use this volume of a 4D file, counted from 0. Default: files with several volumes are refused."),
]
OddVoxels: TypeAlias = Annotated[
    Flag, Parameter(help="Accept voxels smaller than 0.1 mm or larger than 10 mm. By default they are refused.")
]
ModelName: TypeAlias = Annotated[
    str, Parameter(help="Use this model: a name from `lodbrain models list`, or a model file.")
]
Device: TypeAlias = Annotated[
    str,
    Parameter(help="Compute on this device: cpu, cuda, cuda:1 ..., mps, or auto (a GPU if there is one)."),
]
Memory: TypeAlias = Annotated[
    str | None,
    Parameter(
        help="Limit the memory of all processes together, such as 4GB or 800MiB. Default: free memory minus a margin."
    ),
]
Threads: TypeAlias = Annotated[
    int | None, Parameter(help="Use this number of CPU threads per process. Default: one per core.")
]
Seed: TypeAlias = Annotated[int, Parameter(help="Start the random numbers from this seed.")]
